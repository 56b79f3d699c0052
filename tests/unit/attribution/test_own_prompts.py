"""The example of docs/data.md, from its CSV through the studies that take a relation."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.attribution.methods import UnitScoring, counterfactual, helpfulness
from llm_anatomy.attribution.pairs import LENGTH, SAME, UNWRITTEN, pair_facts
from llm_anatomy.attribution.sites import Site, all_units, read_sites
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.facts import FactFilter
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.root import Configuration
from llm_anatomy.facts.prompts import ask_relation
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.source.record import write_record
from llm_anatomy.stages import attribute_facts, attribute_units, build_dataset, build_tasks
from llm_anatomy.tables.core import read_provenance, read_table
from llm_anatomy.tables.facts import FACTS
from llm_anatomy.tables.patching import INTAKE, PAIRS

from tests.tiny import INITIALS, WORDS, save_tiny_model, tiny_model, tiny_tokenizer
from tests.unit.facts.study import TABLES

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
UNIT_TABLES = (
    "unit_scores",
    "exact_losses",
    "attribution_agreement",
    "faithfulness",
    "faithfulness_areas",
    "area_differences",
)
WITH_INITIALS = (*WORDS, *INITIALS)
# A random model knows nothing, so every fact has to pass.
OPEN = FactFilter(top=None, above_others=False, ambiguous="keep")


def blocks() -> dict[str, str]:
    """The CSV and the YAML of the page's section."""
    section = PAGE.read_text().split("## Your own prompts")[1].split("\n## ")[0]
    return dict(re.findall(r"```(csv|yaml)\n(.*?)```", section, re.DOTALL))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    weights = save_tiny_model(folder / "weights", words=WITH_INITIALS)
    files = {file.name: sha256_file(file) for file in weights.iterdir()}
    write_record(
        folder, {"model": "tiny", "revision": "", "weights_sha256": "", "files": files}, {}
    )
    return folder / "provenance.json"


class Run:
    """The stages of the page's configuration in a folder."""

    def __init__(self, model: Path, folder: Path, csv: str) -> None:
        self.model, self.home = model, folder / "results" / "facts" / "tiny" / "pairs"
        self.table = folder / "pairs.parquet"
        (folder / "pairs.csv").write_text(csv)
        values = yaml.safe_load(blocks()["yaml"])
        values["datasets"][0]["path"] = str(folder / "pairs.csv")
        values["models"] = [{"name": "tiny", "path": str(folder)}]
        self.configuration: Configuration = load_configuration(values, "mine.yaml")

    def facts(self) -> pd.DataFrame:
        (dataset,) = self.configuration.datasets
        build_dataset.run(
            build_dataset.BuildDatasetStage(seed=0, dataset=dataset),
            sources=(),
            table=self.table,
            intake=self.table.with_suffix(".intake.parquet"),
        )
        asked = self.configuration.facts
        attribute_facts.run(
            attribute_facts.AttributionStage(
                seed=0,
                precision=Precision(),
                relation=asked.relation("pairs"),
                filter=OPEN,
                attribution=asked.attribution.model_copy(
                    update={"neurons": 5, "attention_neurons": 5, "head_positions": 5}
                ),
            ),
            model=self.model,
            relation=self.table,
            results=tuple(self.home / f"{name}.parquet" for name in TABLES),
        )
        return read_table(self.home / "facts.parquet", FACTS)

    def units(self, **changes: object) -> Path:
        small = {"exact_top": 2, "exact_sample": 3, "resamples": 20, "kept": 5}
        attribute_units.run(
            attribute_units.UnitStage(
                seed=0,
                precision=Precision(),
                units=self.configuration.facts.units.model_copy(update=small | changes),
            ),
            model=self.model,
            facts=self.home / "facts.parquet",
            results=tuple(self.home / f"{name}.parquet" for name in UNIT_TABLES),
        )
        return self.home

    def tasks(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        patching = self.configuration.patching
        names = ("examples", "pairs", "floors", "intake")
        paths = {name: self.home / f"task-{name}.parquet" for name in names}
        build_tasks.run(
            build_tasks.BuildTasksStage(
                seed=0, task=patching.tasks[0], manipulations=patching.task_manipulations("pairs")
            ),
            model=self.model,
            source=(self.table,),
            **paths,
        )
        return read_table(paths["pairs"], PAIRS), read_table(paths["intake"], INTAKE)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ANATOMY_COMPUTE", Compute(threads=1).model_dump_json())


def test_the_pages_example_runs_and_its_counterfactuals_are_those_of_the_file(
    model: Path, tmp_path: Path
) -> None:
    run = Run(model, tmp_path, blocks()["csv"])
    given = pd.read_csv(io.StringIO(blocks()["csv"]))
    facts = run.facts()
    assert facts["prompt"].tolist() == given["prompt"].tolist()
    named = given["counterfactual_prompt"].notna()
    assert facts["counterfactual_prompt"][named].tolist() == (
        given["counterfactual_prompt"][named].tolist()
    )
    assert facts["counterfactual_prompt"][~named].isna().all()
    tokenizer = tiny_tokenizer(WITH_INITIALS)
    for row in facts[named].itertuples():
        assert tokenizer.decode(row.counterfactual_tokens) == row.counterfactual_prompt
    home = run.units()
    counts = read_provenance(home / "unit_scores.parquet")
    assert counts["facts"]["used"] == counts["facts"]["facts"] == 6
    assert counts["set_aside"] == {}
    pairs, intake = run.tasks()
    switched = pairs.set_index("example_id")
    for row, line in zip(facts.itertuples(), given.itertuples(), strict=True):
        if named[row.Index]:
            own = switched.loc[row.example_id]
            assert own["donor_prompt"] == line.counterfactual_prompt
            assert list(own["donor_answers"]) == [line.counterfactual_answer]
    # The two without one of their own switch with other rows.
    assert set(switched.loc[facts["example_id"][~named], "donor_prompt"]) <= set(given["prompt"])
    assert set(intake[intake["scope"] == "switch"]["example_id"]) == set(facts["example_id"])


def test_pairs_of_unequal_length_are_set_aside_and_counted_by_default(
    model: Path, tmp_path: Path
) -> None:
    run = Run(model, tmp_path, blocks()["csv"])
    facts = run.facts()
    own = facts[facts["counterfactual_tokens"].notna()]
    unequal = sum(len(r.tokens) != len(r.counterfactual_tokens) for r in own.itertuples())
    assert unequal > 0
    counted = read_provenance(run.units(unequal="skip_pair") / "unit_scores.parquet")
    assert counted["set_aside"][LENGTH] == unequal
    assert counted["facts"]["without_counterfactual"] >= unequal


def test_a_counterfactual_that_cannot_be_asked_is_named_with_its_reason(
    model: Path, tmp_path: Path
) -> None:
    csv = "prompt,answer,subject,counterfactual_prompt,counterfactual_answer\n"
    # Names that begin with one letter begin with one token.
    csv += "The capital of Peru is,Lima,Peru,The capital of Mali is,Lome\n"
    csv += "Two and two make,four,,Two and one make,three\n"
    csv += "The town of Oslo is,big,Oslo,A village named Oslo is,tiny\n"
    run = Run(model, tmp_path, csv)
    facts = run.facts()
    pairs, aside = pair_facts(facts, 0, "last_token")
    # Lima and Lome.
    assert aside == {facts["example_id"][0]: SAME}
    assert [pair.example_id for pair in pairs] == facts["example_id"].tolist()[1:]
    _, intake = run.tasks()
    reasons = intake[(intake["scope"] == "switch")].set_index("example_id")["reason"]
    assert "differs in more than the subject" in reasons[facts["example_id"][2]]
    assert "does not contain the subject" in reasons[facts["example_id"][1]]


def test_an_answer_that_changes_the_prompts_tokens_is_set_aside() -> None:
    # This tokenizer writes two line breaks as one token, so the answer takes the prompt's away.
    tokenizer = tiny_tokenizer(("ĊĊ",))
    decoder = resolve(tiny_model("llama"))
    rows = pd.DataFrame(
        {
            "example_id": ["a", "b"],
            "subject": ["", ""],
            "answers": [["\n\nParis"], ["Paris"]],
            "prompt": ["The capital:\n", "The city:\n"],
            "counterfactual_prompt": ["The town is", "The town:\n"],
            "counterfactual_answer": ["Rome", "\n\nRome"],
        }
    )
    asked = ask_relation(decoder, tokenizer, rows, ["{subject}"], OPEN, 512)["{subject}"]
    assert asked[0].outcome == "the answer cannot be written behind the prompt"
    assert asked[1].outcome == "used"
    assert asked[1].question.counterfactual.token is None
    assert asked[0].question.counterfactual.token is not None


def own(tokens: list[int], other: list[int], rival: float = 8) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "example_id": ["a"],
            "tokens": [tokens],
            "gold_token": [7],
            "counterfactual_prompt": ["x"],
            "counterfactual_tokens": [other],
            "counterfactual_token": [rival],
        }
    )


@pytest.mark.parametrize(
    ("other", "unequal", "places"),
    [
        ([4, 5, 6], "skip_pair", (0, 1, 2)),
        ([4, 5], "last_token", (-1, -1, 1)),
        ([4, 5], "pad_left_with_first", (0, 0, 1)),
        ([3, 4, 5, 6, 7], "pad_left_with_first", (2, 3, 4)),
    ],
)
def test_a_counterfactual_is_aligned_by_the_policy(
    other: list[int], unequal: str, places: tuple[int, ...]
) -> None:
    (pair,), aside = pair_facts(own([1, 2, 3], other), 0, unequal)
    assert pair.places == places
    assert (pair.example_id, pair.other_id, pair.rival, aside) == ("a", "a", 8, {})


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (own([1, 2], [3]), LENGTH),
        (own([1, 2], [3, 4], rival=7), SAME),
        (own([1, 2], [3, 4], rival=float("nan")), UNWRITTEN),
    ],
)
def test_why_a_fact_has_no_pair(frame: pd.DataFrame, reason: str) -> None:
    assert pair_facts(frame, 0) == ([], {"a": reason})


def test_aligned_activations_are_the_counterfactuals_at_their_places(model: Path) -> None:
    decoder = resolve(tiny_model("llama"))
    site = Site("ffn", 1)
    tokens, other = [5, 17, 40, 99], [7, 30, 2]
    clean, given = (
        read_sites(decoder, torch.tensor([ids]), [site])[site][0] for ids in (tokens, other)
    )
    frame = own(tokens, other)
    for unequal, expected in (
        ("last_token", torch.cat([clean[:3], given[2:]])),
        ("pad_left_with_first", torch.cat([given[:1], given])),
    ):
        (pair,), _ = pair_facts(frame, 0, unequal)
        found = counterfactual(decoder, [pair], [site])[site][0]
        torch.testing.assert_close(found, expected)
    # Where a position keeps its own activations nothing is exchanged, so nothing is scored.
    (pair,), _ = pair_facts(frame, 0, "last_token")
    units = all_units(decoder, "ffn_neuron")
    everywhere = helpfulness(decoder, [pair], units, UnitScoring(positions="all"), 64)
    at_the_end = helpfulness(decoder, [pair], units, UnitScoring(positions="last"), 64)
    torch.testing.assert_close(everywhere, at_the_end)
    denoised = helpfulness(decoder, [pair], units, UnitScoring("denoising"), 64)
    assert bool((denoised != 0).any())
