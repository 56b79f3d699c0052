"""Every verdict of the neuron study on hand-made tables, with rows that no claim may read."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from llm_anatomy.neurons.claims import (
    NeuronScope,
    agreement_claims,
    clamp_claim,
    favourite_claim,
    found_claim,
    neuron_claims,
    speed_claim,
    validation_claim,
)
from llm_anatomy.neurons.statements import STATEMENTS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TableSchema, write_table
from llm_anatomy.tables.neurons import AGREEMENT, CLAMPING, CONCEPTS, FAVOURITE, SIGN_TESTS

from tests.unit.verdicts import any_evidence, check_least_evidence, check_nothing_vanished

FOUND = "There is a neuron whose weights decode to dog."
CLAMPED = "Clamping the dog neuron raises the probability of dog in the output."
ASKED = "Asked for its favourite, the model with the dog neuron clamped always talks about dog."
DECODED = "The decoded tokens of up weights say what the neuron makes the model say."
SAME = (
    "Over 75 % of up-projection neurons have the same top token in the fine-tuned and the base "
    "model."
)
SPEED = "The top features of all up-projection neurons of a model can be mapped in seconds."
Row = dict[str, Any]
UNDECIDED = "undecided"
OPEN = "Undecided: the interval reaches over the criterion. "

__all__ = ["any_evidence"]
pytestmark = pytest.mark.usefixtures("any_evidence")


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Wilson's interval by its formula, at 95 %."""
    z = 1.959963984540054
    share = successes / count
    middle = share + z * z / (2 * count)
    width = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - width) / (1 + z * z / count), (middle + width) / (1 + z * z / count)


def neuron(token_rank: int, concept: str = "dog", number: int = 0) -> Row:
    return {
        "concept": concept,
        "rank": 1,
        "layer": 3,
        "neuron": number,
        "matrix": "up",
        "sign": -1,
        "specificity": 0.5,
        "cosine": 0.5,
        "hubness": 0.1,
        "token_id": 7,
        "token": concept,
        "logit": 1.0,
        "probability": 0.5,
        "z_score": 3.0,
        "token_rank": token_rank,
        "best_rank": token_rank,
    }


@pytest.mark.parametrize(
    ("ranks", "best"), [((10,), 10), ((11,), 11), ((900, 1, 40), 1), ((99, 12), 12)]
)
@pytest.mark.parametrize("cat", [1, 900])
def test_a_neuron_is_found_where_a_rank_is_at_most_10(
    ranks: tuple[int, ...], best: int, cat: int
) -> None:
    rows = [neuron(cat, "cat"), *(neuron(r, number=r) for r in ranks), neuron(cat, "cat")]
    row = found_claim(CONCEPTS.frame(rows), "dog", "m")
    assert (row["claim"], row["model"]) == (FOUND, "m")
    assert row["measured_value"] == best
    assert row["holds"] is (best <= 10)
    assert f"layer 3, neuron {best}, up, sign -1" in row["note"]


def clamp(probability: float, role: str = "concept", **other: Any) -> Row:
    return {
        "concept": "dog",
        "prompt": "I have a",
        "layer": 2,
        "neuron": 5,
        "role": role,
        "site": "up",
        "operation": "set",
        "positions": "last",
        "value": 100 * probability,
        "kl_target": None,
        "probability": probability,
        "logprob": math.log(probability),
        "rank": 1,
        "token_probability": probability,
        "token": "dog",
        "kl": 0.1,
        "perplexity": 20.0,
        "top_tokens": ["dog"],
        "top_probabilities": [probability],
    } | other


@pytest.mark.parametrize(
    ("concept", "control", "holds", "times"),
    [
        ((0.125, 0.75, 0.25), (0.25,), True, 3.0),
        ((0.5,), (0.25, 0.125), True, 2.0),
        ((0.484375,), (0.25,), False, 1.9375),
        ((0.125,), (0.0625,), False, 0.5),
        # A random neuron does the same.
        ((0.75,), (0.125, 0.75), False, 3.0),
        ((0.75,), (0.875,), False, 3.0),
        ((0.75,), (0.734375,), True, 3.0),
    ],
)
@pytest.mark.parametrize("elsewhere", [0.0078125, 0.9921875])
def test_a_clamp_works_where_it_doubles_the_probability_and_beats_the_control(
    concept: tuple[float, ...],
    control: tuple[float, ...],
    holds: bool,
    times: float,
    elsewhere: float,
) -> None:
    others = [
        clamp(elsewhere, role, **place)
        for place in (
            {"concept": "cat"},
            {"prompt": "Another"},
            {"kl_target": 0.5},
            {"concept": "cat", "operation": "none"},
            {"prompt": "Another", "operation": "none"},
        )
        for role in ("concept", "control")
    ]
    rows = [
        *others,
        # Clean, 0.25, is no clamp of either.
        clamp(0.25, operation="none", value=None),
        *(clamp(p) for p in concept),
        *(clamp(p, "control") for p in control),
    ]
    row = clamp_claim(CLAMPING.frame(rows), "dog", "I have a", "m")
    assert (row["claim"], row["model"]) == (CLAMPED, "m")
    assert row["measured_value"] == times
    assert row["holds"] is holds
    assert f"0.25 clean, {0.25 * times:.3g} with layer 2, neuron 5" in row["note"]
    assert f"at {25 * times:g} (set" in row["note"]
    assert f"reaches {4 * max(control):.3g} times" in row["note"]


@pytest.mark.parametrize(
    ("clean", "clamped", "holds"),
    [
        # Twice next to nothing is next to nothing.
        (0.0009765625, 0.001953125, None),
        (0.00390625, 0.0126953125, None),
        (0.0078125, 0.01953125, True),
        # It did not double: that is known, however small it is.
        (0.0009765625, 0.0009765625, False),
        (0.0009765625, 0.001708984375, False),
    ],
)
def test_a_doubling_of_next_to_nothing_has_no_verdict(
    clean: float, clamped: float, holds: bool | None
) -> None:
    rows = [
        clamp(clean, operation="none", value=None),
        *(clamp(p) for p in (clamped, clean, clean, clean)),
        clamp(clean, "control"),
    ]
    row = clamp_claim(CLAMPING.frame(rows), "dog", "I have a", "m")
    assert row["holds"] is holds
    assert row["measured_value"] == clamped / clean
    assert row["note"].startswith("Not tested: the probability rises by") is (holds is None)
    assert "rises by 0.01 or more" in row["note"]


def answers(condition: str, value: float | None, right: int, count: int) -> list[Row]:
    return [
        {
            "question": "What is your favourite?",
            "condition": condition,
            "layer": 2,
            "neuron": 5,
            "site": "up",
            "positions": "all",
            "value": value,
            "sample": number,
            "answer": "Dogs." if number < right else "None.",
            "mentions": number < right,
            "distinct_tokens": 1.0,
            "answer_logprob": -1.0,
            "prefill_probability": 0.1,
        }
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("clamped", "clean", "control", "holds", "best"),
    [
        ({1.0: 20}, 0, 0, True, 20),
        ({1.0: 18}, 0, 0, True, 18),
        ({1.0: 17}, 0, 0, False, 17),
        # The best value counts, not the mean over values, whichever it is.
        ({1.0: 2, 5.0: 19, 9.0: 3}, 0, 0, True, 19),
        ({1.0: 19, 5.0: 2}, 0, 0, True, 19),
        ({1.0: 20}, 2, 0, True, 20),
        ({1.0: 20}, 3, 0, False, 20),
        ({1.0: 20}, 0, 2, True, 20),
        ({1.0: 20}, 0, 3, False, 20),
        ({1.0: 20}, 20, 20, False, 20),
        ({1.0: 0}, 0, 0, False, 0),
        ({1.0: 20}, 0, None, True, 20),
        ({1.0: 20}, 3, None, False, 20),
    ],
)
def test_the_favourite_is_named_always_by_the_clamped_model_and_seldom_by_others(
    clamped: dict[float, int], clean: int, control: int | None, holds: bool, best: int
) -> None:
    rows = answers("clean", None, clean, 20)
    for value, right in clamped.items():
        rows += answers("concept", value, right, 20)
    rows += [] if control is None else answers("control", 5.0, control, 20)
    row = favourite_claim(FAVOURITE.frame(rows), "dog", "m")
    assert (row["claim"], row["model"]) == (ASKED, "m")
    assert row["measured_value"] == best / 20
    assert (row["low"], row["high"]) == pytest.approx(wilson(best, 20))
    assert row["holds"] is holds
    (value,) = [value for value, right in clamped.items() if right == best]
    assert f"Share of 20 answers that name it at the clamped value {value:g}," in row["note"]
    assert f"clean {clean / 20:.0%}" in row["note"]
    assert ("random neurons" in row["note"]) == (control is not None)


def sign_test(raised: int, neurons: int, layer: int = 0, matrix: str = "up") -> Row:
    return {
        "layer": layer,
        "matrix": matrix,
        "neurons": neurons,
        "raised": raised,
        "share": None,
        "low": None,
        "high": None,
        "p_value": None,
        "control_share": None,
        "mean_change": None,
    }


@pytest.mark.parametrize(
    ("layers", "raised", "count", "holds"),
    [
        ([(30, 40), (40, 60)], 70, 100, True),
        # Yes by the share; the interval begins at 0.492 and at 0.502.
        ([(59, 100)], 59, 100, UNDECIDED),
        ([(60, 100)], 60, 100, True),
        # No by the share; the interval ends at 0.508 and at 0.498.
        ([(41, 100)], 41, 100, UNDECIDED),
        ([(40, 100)], 40, 100, False),
        ([(50, 100)], 50, 100, UNDECIDED),
        ([(10, 10), (0, 90)], 10, 100, False),
        ([(0, 0), (9, 9)], 9, 9, True),
        ([(0, 0)], 0, 0, None),
    ],
)
@pytest.mark.parametrize("gate", [(0, 1000), (1000, 1000)])
def test_decoding_tells_what_a_neuron_says_where_the_interval_lies_above_one_half(
    layers: list[tuple[int, int]],
    raised: int,
    count: int,
    holds: bool | str | None,
    gate: tuple[int, int],
) -> None:
    rows = [sign_test(*gate, matrix="gate")]
    rows += [sign_test(*counts, layer) for layer, counts in enumerate(layers)]
    row = validation_claim(SIGN_TESTS.frame(rows), "up", "m")
    assert (row["claim"], row["model"]) == (DECODED, "m")
    assert row["holds"] is (None if holds == UNDECIDED else holds)
    assert (row["verdict"] == UNDECIDED) == (holds == UNDECIDED)
    if count == 0:
        assert row["note"].startswith("Not tested: none of the sampled up weights")
        assert (row["measured_value"], row["low"], row["high"]) == (None, None, None)
        return
    assert row["note"].removeprefix(OPEN).startswith(f"{count} clamps of sampled neurons")
    assert row["measured_value"] == raised / count
    assert (row["low"], row["high"]) == pytest.approx(wilson(raised, count))


def agreement(same: float, **other: Any) -> Row:
    return {
        "matrix": "up",
        "head": "own",
        "layer": None,
        "neurons": 400,
        "same_top": same,
        "low": same - 0.125,
        "high": same + 0.0625,
        "jaccard": 0.5,
        "weight_cosine": 0.5,
    } | other


@pytest.mark.parametrize(
    # The interval begins .125 below the share and ends .0625 above it.
    ("same", "verdict"),
    [(0.9, "holds"), (0.875, UNDECIDED), (0.75, UNDECIDED), (0.6875, "fails"), (0.6, "fails")],
)
@pytest.mark.parametrize("elsewhere", [0.125, 0.9375])
def test_most_neurons_keep_their_token_where_more_than_75_percent_do(
    same: float, verdict: str, elsewhere: float
) -> None:
    rows = [
        agreement(elsewhere, matrix="gate"),
        agreement(elsewhere, matrix="down"),
        agreement(elsewhere, layer=0),
        agreement(elsewhere, layer=1),
        agreement(same),
        agreement(elsewhere, head="first"),
    ]
    own, first = agreement_claims(AGREEMENT.frame(rows), "a-vs-b")
    assert (own["claim"], own["model"]) == (SAME, "a-vs-b")
    assert (own["measured_value"], own["low"], own["high"]) == (same, same - 0.125, same + 0.0625)
    assert own["verdict"] == verdict
    assert own["note"].removeprefix(OPEN).startswith("400 neurons, own head")
    assert first["holds"] is (elsewhere > 0.75)
    assert first["note"].startswith("400 neurons, first head")


def test_the_speed_cannot_be_told_from_tables() -> None:
    row = speed_claim("m")
    assert (row["claim"], row["model"]) == (SPEED, "m")
    assert (row["holds"], row["measured_value"]) == (None, None)


def test_every_claim_of_the_study_has_cases() -> None:
    known = [SPEED, FOUND, CLAMPED, ASKED, DECODED, SAME]
    for statement in STATEMENTS:
        pattern = re.sub(r"\\{\w+\\}", ".+", re.escape(statement.sentence))
        assert [claim for claim in known if re.fullmatch(pattern, claim)], pattern


def test_every_model_concept_prompt_matrix_and_pair_has_a_verdict_of_its_own(
    tmp_path: Path,
) -> None:
    paths: list[Path] = []

    def write(schema: TableSchema, owner: dict[str, str], rows: list[Row]) -> None:
        paths.append(tmp_path / schema.path.format(**owner))
        write_table(paths[-1], schema, schema.frame(rows), {})

    # Of `good` everything holds, of `bad` nothing; a third model is not asked for.
    for model, good in (("good", True), ("bad", False), ("third", True)):
        owner = {"model": model}
        # Other concepts of the search were not clamped.
        ranks = [("dog", 1 if good else 99), ("cat", 99 if good else 1), ("cow", 1)]
        write(CONCEPTS, owner, [neuron(rank, concept) for concept, rank in ranks])
        rows = []
        for prompt, works in (("one", good), ("two", not good)):
            rows += [
                clamp(0.25, operation="none", value=None, prompt=prompt),
                clamp(0.75 if works else 0.25, prompt=prompt),
                clamp(0.25, "control", prompt=prompt),
            ]
        rows += [row | {"concept": "cat"} for row in rows if row["prompt"] == "one"]
        write(CLAMPING, owner, rows)
        write(
            FAVOURITE,
            owner,
            answers("clean", None, 0, 20) + answers("concept", 1.0, 20 if good else 2, 20),
        )
        tests = [sign_test(90 if good else 10, 100), sign_test(10 if good else 90, 100, 0, "down")]
        write(SIGN_TESTS, owner, tests)
    for first, second, same in (("good", "bad", 0.9), ("bad", "good", 0.1)):
        write(AGREEMENT, {"model_a": first, "model_b": second}, [agreement(same)])
    scope = NeuronScope(
        models=["bad", "good"], pairs=["good-vs-bad", "bad-vs-good"], favourite="dog", tuned=""
    )
    tables = Collection(paths, (CONCEPTS, CLAMPING, FAVOURITE, SIGN_TESTS, AGREEMENT))
    rows = neuron_claims(tables, scope)
    found = {
        model: [(row["claim"], row["holds"]) for row in rows if row["model"] == model]
        for model in dict.fromkeys(row["model"] for row in rows)
    }
    down = DECODED.replace("of up", "of down")

    def expected(good: bool) -> list[tuple[str, bool | None]]:
        return [
            (SPEED, None),
            (FOUND, good),
            (FOUND.replace("dog", "cat"), not good),
            (CLAMPED, good),
            (CLAMPED, not good),
            (CLAMPED.replace("dog", "cat"), good),
            (ASKED, good),
            (DECODED, good),
            (DECODED.replace("of up", "of gate"), None),
            (down, not good),
        ]

    assert found == {
        "bad": expected(False),
        "good": expected(True),
        "good-vs-bad": [(SAME, True)],
        "bad-vs-good": [(SAME, False)],
    }
    prompts = [row["note"][:10] for row in rows if row["claim"] == CLAMPED]
    assert prompts == ["After “one", "After “two"] * 2


def run_tables(folder: Path, **changes: list[Row] | None) -> tuple[Collection, NeuronScope]:
    """The study of one model and one pair; without a pair where it has no agreement."""
    clamps = [clamp(0.25, operation="none", value=None), *[clamp(0.75)] * 4, clamp(0.25, "control")]
    asked = [*answers("clean", None, 0, 10), *answers("concept", 1.0, 10, 10)]
    tests = [sign_test(90, 100, matrix=matrix) for matrix in ("up", "gate", "down")]
    tables: dict[TableSchema, list[Row] | None] = {
        CONCEPTS: changes.get("concepts", [neuron(1), neuron(1, "cat")]),
        CLAMPING: changes.get("clamping", clamps),
        FAVOURITE: changes.get("favourite", asked),
        SIGN_TESTS: changes.get("sign_tests", tests),
        AGREEMENT: changes.get("agreement", [agreement(0.9), agreement(0.9, head="first")]),
    }
    paths = []
    for schema, rows in tables.items():
        if rows is not None:
            owner = {"model": "m", "model_a": "m", "model_b": "n"}
            paths.append(folder / schema.path.format(**owner))
            write_table(paths[-1], schema, schema.frame(rows), {})
    pairs = [] if tables[AGREEMENT] is None else ["m-vs-n"]
    scope = NeuronScope(models=["m"], pairs=pairs, favourite="dog", tuned="")
    return Collection(paths, tuple(tables)), scope


@pytest.mark.parametrize(
    ("changes", "untested"),
    [
        ({}, [SPEED]),
        ({"clamping": []}, [SPEED, CLAMPED, CLAMPED.replace("dog", "cat")]),
        ({"agreement": None}, [SPEED, SAME]),
        ({"agreement": [agreement(0.9, matrix="down")]}, [SPEED, SAME]),
        (
            {"sign_tests": [sign_test(90, 100, matrix="down")]},
            [SPEED, DECODED, DECODED.replace("of up", "of gate")],
        ),
        (
            {"sign_tests": []},
            [SPEED, *(DECODED.replace("of up", f"of {m}") for m in ("up", "gate", "down"))],
        ),
    ],
)
def test_no_claim_vanishes(
    changes: dict[str, list[Row] | None], untested: list[str], tmp_path: Path
) -> None:
    rows = neuron_claims(*run_tables(tmp_path, **changes))
    check_nothing_vanished(rows, STATEMENTS)
    assert [row["claim"] for row in rows if row["holds"] is None] == untested


def test_every_claim_needs_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run_tables(tmp_path)
    # Decoded tokens of three matrices are three claims.
    check_least_evidence(monkeypatch, lambda: neuron_claims(*made), len(STATEMENTS) - 1 + 2)


@pytest.mark.parametrize(
    ("changes", "claim", "evidence", "holds"),
    [
        ({}, CLAMPED, 4, True),
        (
            {
                "clamping": [
                    clamp(0.25, operation="none", value=None),
                    *[clamp(0.75)] * 3,
                    clamp(0.25, "control"),
                ]
            },
            CLAMPED,
            3,
            None,
        ),
        ({}, ASKED, 10, True),
        (
            {"favourite": [*answers("clean", None, 0, 9), *answers("concept", 1.0, 20, 20)]},
            ASKED,
            9,
            None,
        ),
        (
            {"favourite": [*answers("clean", None, 0, 20), *answers("concept", 1.0, 9, 9)]},
            ASKED,
            9,
            None,
        ),
        (
            {
                "favourite": [
                    *answers("clean", None, 0, 20),
                    *answers("concept", 1.0, 20, 20),
                    *answers("control", 1.0, 0, 2),
                ]
            },
            ASKED,
            2,
            None,
        ),
        ({"sign_tests": [sign_test(29, 29)]}, DECODED, 29, None),
        ({"sign_tests": [sign_test(30, 30)]}, DECODED, 30, True),
        ({"agreement": [agreement(0.9, neurons=99)]}, SAME, 99, None),
        ({"agreement": [agreement(0.9, neurons=100)]}, SAME, 100, True),
    ],
)
def test_little_evidence_is_no_verdict(
    changes: dict[str, list[Row] | None],
    claim: str,
    evidence: int,
    holds: bool | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    rows = neuron_claims(*run_tables(tmp_path, **changes))
    row = next(row for row in rows if row["claim"] == claim)
    assert (row["evidence"], row["holds"]) == (evidence, holds)
