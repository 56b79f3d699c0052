"""Sweeps of a model that answers: the original's answer, the donor's, and others'."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.patching import (
    Angle,
    ArithmeticTask,
    Donors,
    Freeze,
    Manipulation,
    Noise,
    PatchingSummary,
    RelationTask,
    Shuffle,
    Skip,
    Switch,
)
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.patching.examples import BuiltTask, build_task
from llm_anatomy.patching.experiment import sweep_task
from llm_anatomy.patching.summary import summarise_sweeps
from llm_anatomy.statistics.intervals import wilson_interval

from tests.answering import CAPITALS, RIGHT, SUMS, TEMPLATE, WRONG_SUMS
from tests.unit.answers.columns import unexplained

LAYERS = 4
MANIPULATIONS: list[Manipulation] = [
    Noise(name="noise", seeds=2),
    Noise(name="subject_noise", positions="subject", seeds=1),
    Shuffle(name="shuffle", seeds=2),
    Angle(name="angle", degrees=[0, 180], seeds=1),
    Freeze(name="freeze"),
    Skip(name="skip"),
    Switch(name="switch"),
]
TASK = RelationTask(
    name="capitals", relation="capitals", prompt=TEMPLATE, donors=Donors(pairing="all")
)
CITY = {country: city for country, city, _ in CAPITALS}
SAID = {country: cities[0] for country, _, cities in CAPITALS}
# Where a column holds one value, and why.
CONSTANT = {
    "sweeps.exact_match": "no question is about a passage",
    "sweeps.f1": "no question is about a passage",
    "sweeps.rouge1": "nothing is summarised",
    "sweeps.rouge2": "nothing is summarised",
    "sweeps.rougeL": "nothing is summarised",
    "curves.layers": "one model",
    "depths.layers": "one model",
}


@pytest.fixture(scope="module")
def loaded(answering: Path) -> LoadedModel:
    return load_model(answering, Precision(), Compute(threads=1))


@pytest.fixture(scope="module")
def built(loaded: LoadedModel) -> BuiltTask:
    rows = [
        {"example_id": f"id-{country}", "subject": country, "answers": [city], "prompt": None}
        for country, city, _ in CAPITALS
    ]
    return build_task(TASK, rows, loaded.tokenizer, manipulations=MANIPULATIONS)


def swept(loaded: LoadedModel, built: BuiltTask, tokens: int) -> pd.DataFrame:
    task = TASK.model_copy(update={"max_new_tokens": tokens})
    rows = sweep_task(loaded, task, built.examples, built.pairs, MANIPULATIONS, seed=5)
    for name in ("example", "donor"):
        rows[name] = rows[f"{name}_id"].str.removeprefix("id-")
    return rows


@pytest.fixture(scope="module")
def sweeps(loaded: LoadedModel, built: BuiltTask) -> pd.DataFrame:
    return swept(loaded, built, 1)


def of(sweeps: pd.DataFrame, name: str, layer: int | None = None) -> pd.DataFrame:
    own = sweeps[sweeps["manipulation"] == name]
    return own if layer is None else own[own["layer"] == layer]


def spoken(loaded: LoadedModel, country: str) -> torch.Tensor:
    """Log-probabilities of the next token, from the model itself; rows without a token left out."""
    ids = loaded.tokenizer(TEMPLATE.format(subject=country), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = loaded.decoder.model(input_ids=ids).logits[0, -1, : len(loaded.tokenizer)]
        return logits.double().log_softmax(-1)


def first(loaded: LoadedModel, city: str) -> int:
    (token,) = loaded.tokenizer(f" {city}", add_special_tokens=False)["input_ids"]
    return int(token)


def test_clean_answers_are_right_where_the_model_was_taught_so(sweeps: pd.DataFrame) -> None:
    clean = of(sweeps, "none").set_index("example")
    assert clean["prediction"].to_dict() == SAID
    assert set(clean.index[clean["correct"]]) == RIGHT
    assert clean["donor_correct"].isna().all()
    assert clean.loc["Togo", "gold_rank"] == 2
    assert (clean["kl"].abs() < 1e-6).all()


def test_an_answer_is_judged_by_its_own_city_and_the_donors(sweeps: pd.DataFrame) -> None:
    assert (sweeps["correct"] == (sweeps["prediction"] == sweeps["example"].map(CITY))).all()
    switched = of(sweeps, "switch")
    follows = switched["prediction"] == switched["donor"].map(CITY)
    assert (switched["donor_correct"].astype(bool) == follows).all()
    outcomes = {
        "original": switched["correct"] & ~follows,
        "donor": follows & ~switched["correct"],
        "neither": ~follows & ~switched["correct"],
    }
    assert {name: bool(rows.any()) for name, rows in outcomes.items()} == dict.fromkeys(
        outcomes, True
    )


def test_a_switch_before_the_first_block_asks_the_donors_question(
    loaded: LoadedModel, sweeps: pd.DataFrame
) -> None:
    rows = of(sweeps, "switch", 0)
    assert len(rows) == 30
    assert rows["prediction"].tolist() == rows["donor"].map(SAID).tolist()
    # Who switches Qatar, which is said to have Rome, into Italy's prompt still hears Rome.
    qatar = rows[(rows["example"] == "Italy") & (rows["donor"] == "Qatar")].iloc[0]
    assert (qatar["correct"], qatar["donor_correct"]) == (True, False)
    said = {country: spoken(loaded, country) for country in CITY}
    for row in rows.itertuples():
        heard, clean = said[row.donor], said[row.example]
        gold, donor = (first(loaded, CITY[name]) for name in (row.example, row.donor))
        assert row.gold_logprob == pytest.approx(float(heard[gold]), abs=1e-4)
        assert row.donor_logprob == pytest.approx(float(heard[donor]), abs=1e-4)
        assert row.gold_rank == 1 + int((heard > heard[gold]).sum())
        assert row.donor_rank == 1 + int((heard > heard[donor]).sum())
        assert row.kl == pytest.approx(float((clean.exp() * (clean - heard)).sum()), abs=1e-4)


def test_a_switch_behind_what_was_read_leaves_the_original_answer(sweeps: pd.DataFrame) -> None:
    for layer in (2, 3):
        late = of(sweeps, "switch", layer)
        assert late["prediction"].tolist() == late["example"].map(SAID).tolist()


def test_without_attention_no_country_is_heard(sweeps: pd.DataFrame) -> None:
    bare = of(sweeps, "skip", 0)
    assert bare["prediction"].nunique() == 1
    assert bare["correct"].sum() <= 1
    assert of(sweeps, "skip", 2)["correct"].sum() == len(RIGHT)


def test_freezing_at_the_last_block_and_turning_by_nothing_change_nothing(
    sweeps: pd.DataFrame,
) -> None:
    angle = of(sweeps, "angle")
    for same in (of(sweeps, "freeze", LAYERS - 1), angle[angle["strength"] == 0]):
        assert same["prediction"].tolist() == same["example"].map(SAID).tolist()
        assert (same["kl"] < 1e-6).all()


@pytest.mark.parametrize("name", ["noise", "subject_noise", "shuffle", "angle", "skip", "switch"])
def test_a_manipulation_takes_right_answers_early_and_leaves_them_late(
    name: str, sweeps: pd.DataFrame
) -> None:
    rows = of(sweeps, name)
    right = rows[rows["example"].isin(RIGHT) & (rows["strength"] != 0)]
    early, late = right[right["layer"] == 0], right[right["layer"] == LAYERS - 1]
    assert early["correct"].mean() < 0.6
    assert late["correct"].all()
    assert early["kl"].mean() > 10 * late["kl"].mean()
    # What is wrong stays wrong by whoever is asked: the model was never taught Doha.
    assert not rows.loc[rows["example"] == "Qatar", "correct"].any()


def test_the_subject_alone_is_manipulated_where_that_is_asked(sweeps: pd.DataFrame) -> None:
    """At the last block only the subject's key and value are other than the clean model's."""
    whole, subject = (of(sweeps, name, LAYERS - 1)["kl"] for name in ("noise", "subject_noise"))
    assert 0 < subject.mean() < whole.mean()


def test_curves_are_shares_of_examples_and_of_the_outcomes_of_switches(
    sweeps: pd.DataFrame, built: BuiltTask
) -> None:
    curves, depths = summarise_sweeps(
        sweeps.drop(columns=["example", "donor"]), built.floors, PatchingSummary(), 0
    )
    first_layer = curves[(curves["layer"] == 0) & (curves["manipulation"] == "switch")]
    found = first_layer.set_index(["subset", "metric"])["value"]
    pairs = [(a, b) for a in CITY for b in CITY if a != b]
    for subset, asked in (("all", set(CITY)), ("clean_correct", RIGHT)):
        own = [(a, b) for a, b in pairs if a in asked]
        original = sum(SAID[b] == CITY[a] for a, b in own) / len(own)
        modified = sum(SAID[b] == CITY[b] for _, b in own) / len(own)
        assert found[subset, "original"] == pytest.approx(original)
        assert found[subset, "modified"] == pytest.approx(modified)
        neither = sum(SAID[b] not in (CITY[a], CITY[b]) for a, b in own) / len(own)
        assert found[subset, "neither"] == pytest.approx(neither)
    bare = curves[(curves["layer"] == 2) & (curves["manipulation"] == "skip")]
    right = bare[(bare["subset"] == "all") & (bare["metric"] == "correct")].iloc[0]
    assert (right["value"], right["baseline"], right["examples"]) == (4 / 6, 4 / 6, 6)
    assert (right["low"], right["high"]) == pytest.approx(wilson_interval(4, 6))
    # The clean model gets 4 of 6, skipping from block 2 on too: one drop-free depth of 1/2.
    depth = depths[
        (depths["manipulation"] == "skip")
        & (depths["subset"] == "all")
        & (depths["metric"] == "correct")
        & (depths["quantity"] == "drop_free_5")
    ].iloc[0]
    assert depth["layer"] <= 2
    tables = {"sweeps": sweeps.drop(columns=["example", "donor"]), "curves": curves}
    tables["depths"] = depths
    assert unexplained(tables, CONSTANT) == {"constant": [], "varies": []}


def test_a_continuation_is_judged_like_its_first_token(
    loaded: LoadedModel, built: BuiltTask, sweeps: pd.DataFrame
) -> None:
    longer = swept(loaded, built, 2)
    # The lessons end every city with a full stop.
    late = of(longer, "switch", LAYERS - 1)
    assert late["prediction"].tolist() == [f"{SAID[name]}." for name in late["example"]]
    for column in ("correct", "donor_correct"):
        pd.testing.assert_series_equal(of(longer, "switch")[column], of(sweeps, "switch")[column])
    assert of(longer, "none")["correct"].tolist() == of(sweeps, "none")["correct"].tolist()


def test_wrong_sums_are_wrong_and_others_right(loaded: LoadedModel) -> None:
    task = ArithmeticTask(
        name="sums", operation="add", first=(1, 4), second=(1, 4), shots=0, prompt="{a}+{b}="
    )
    built = build_task(task, [], loaded.tokenizer, manipulations=[Skip(name="skip")])
    found = sweep_task(loaded, task, built.examples, built.pairs, [Skip(name="skip")])
    clean = found[found["manipulation"] == "none"].set_index("example_id")
    for (a, b), said in SUMS.items():
        assert clean.loc[f"{a}+{b}", "prediction"] == str(said)
        assert bool(clean.loc[f"{a}+{b}", "correct"]) == ((a, b) not in WRONG_SUMS)
    deaf = of(found, "skip", 0)
    assert deaf["prediction"].nunique() == 1
    assert 0 < deaf["correct"].mean() < 0.5
