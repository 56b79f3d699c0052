"""Every verdict of the geometry study on tables made by hand, from its criterion."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from llm_anatomy.geometry import claims
from llm_anatomy.geometry.claims import GeometryScope, geometry_claims
from llm_anatomy.geometry.statements import STATEMENTS
from llm_anatomy.tables.geometry import (
    HULL_CHECKS,
    INSERT_STARTS,
    PROMPT_CORRELATIONS,
    PROMPT_DIMENSION,
    PROMPT_OUTCOMES,
    PROMPTS,
    REGION_CHECKS,
    TABLES,
)

from tests.unit.verdicts import (
    Case,
    Claim,
    Row,
    any_evidence,
    at,
    by_name,
    check_least_evidence,
    check_nothing_vanished,
    collect,
    missing_cases,
)

BOUND = Claim(
    "The dimension of the attention output is at most the number of attended tokens, summed over "
    "heads (Theorem 3.2).",
    "dimensions",
    "holds at 0 or below",
)
HULL = Claim(
    "The attention output is a sum of convex combinations of value vectors, one per head "
    "(Lemma 3.1, Theorem 3.2).",
    "relative error",
)
RELU = Claim(
    "A ReLU MLP is one fixed map on the whole region of its input.",
    "relative error",
)
SMOOTH = Claim(
    "Smooth activations (SiLU, GELU) are soft versions of the same regions.",
    "relative error",
    "middle 95 % of them. The paper has no bound: no verdict.",
)
RELATED = Claim(
    "Related sentences raise the last layer's intrinsic dimension more than unrelated ones.",
    "dimensions",
    "holds where it lies above 0",
)
UNRELATED = Claim(
    "Unrelated sentences leave the last layer's intrinsic dimension as it is.",
    "relative change",
    "holds up to 0.15",
)
FIRST = Claim(
    "Intrinsic dimension of the first layer follows the context length.", "", "holds from 0.9"
)
LAST = Claim(
    "Intrinsic dimension of the last layer says more than the context length.",
    "",
    "holds where it is weaker than in the first layer",
)
HARMFUL = Claim(
    "A higher intrinsic dimension of the last layer goes with harmful answers.",
    "ROC-AUC",
    "holds where it lies above 0.5",
)
INSERTS = Claim(
    "The features of growing prefixes show where a toxic passage begins.",
    "share of documents",
    "than in 95% of all windows; holds from one half",
)


def hull(*ranks_and_counts: tuple[int, int], errors: Iterable[float] = ()) -> list[Row]:
    """Checks with bounds and errors, and with other columns that no claim is about."""
    errors = [*errors] or [1e-7] * len(ranks_and_counts)
    return [
        {
            "text_id": f"t{i}",
            "rank": rank,
            "count": count,
            "hull_error": error,
            "largest_head_rank": 100,
            "relative_count": 1000,
            "relative_error": 0.9,
            "weight_sum_error": 0.5,
        }
        for i, ((rank, count), error) in enumerate(zip(ranks_and_counts, errors, strict=True))
    ]


def errors(*values: float) -> list[Row]:
    return hull(*[(3, 5)] * len(values), errors=values)


def regions(
    relu: Iterable[tuple[float, float]] = ((1e-9, 1e-9),),
    model: Iterable[float] = (0.3, 0.4),
    *,
    gated: bool = True,
) -> list[Row]:
    """Errors at the token and beside it with ReLU, and with the model's own activation."""
    kinds = [("relu", own, beside) for own, beside in relu]
    kinds += [("model", own, 3.0) for own in model]
    return [
        {"activation": kind, "gated": gated, "reconstruction_error": own, "neighbour_error": beside}
        for kind, own, beside in kinds
    ]


def asked(*dimensions: tuple[str, str, int, int]) -> dict[str, list[Row]]:
    """Raw prompts by category, condition, step and last layer's dimension.

    The same prompts as a chat, in the first layer and by the absolute threshold say the opposite.
    """
    prompts, measured = [], []
    for category, condition, step, value in dimensions:
        for form, last in (("raw", value), ("chat", 1000 - 3 * value)):
            name = f"{category}.{condition}.{step}.{form}"
            prompts.append(
                {
                    "prompt_id": name,
                    "category": category,
                    "condition": condition,
                    "step": step,
                    "format": form,
                }
            )
            for layer, threshold, seen in (
                (2, "relative", last),
                (2, "absolute", 900 - last),
                (0, "relative", 900 - last),
                (1, "relative", 900 - last),
            ):
                measured.append(
                    {"prompt_id": name, "layer": layer, "threshold": threshold, "dimension": seen}
                )
    return {"prompts": prompts, "prompt_dimension": measured}


def pairs(*related_and_unrelated: tuple[int, int]) -> dict[str, list[Row]]:
    return asked(
        *[("a", "related", step, up) for step, (up, _) in enumerate(related_and_unrelated, 1)],
        *[("a", "unrelated", step, by) for step, (_, by) in enumerate(related_and_unrelated, 1)],
        # A request without a partner of its category and step counts for nothing.
        ("a", "related", 9, 300),
        ("b", "unrelated", 1, 300),
        ("a", "shuffled", 1, 300),
    )


def changed(bare: tuple[int, int], *unrelated: tuple[str, int]) -> dict[str, list[Row]]:
    return asked(
        *[(category, "none", 0, value) for category, value in zip("ab", bare, strict=True)],
        *[(category, "unrelated", i, value) for i, (category, value) in enumerate(unrelated)],
        ("a", "related", 1, 500),
        ("b", "shuffled", 1, 7),
    )


def goes_with_length(first: float | None, last: float | None) -> dict[str, list[Row]]:
    """Correlations of both layers, among others that say the opposite."""
    rows = []
    for layer, value in ((0, first), (1, -0.2), (2, last)):
        other = None if value is None else 0.95 - abs(value)
        kinds = {
            ("raw", "relative", "context_length"): value,
            ("raw", "absolute", "context_length"): other,
            ("chat", "relative", "context_length"): other,
            ("raw", "relative", "related"): other,
        }
        rows += [
            {
                "format": form,
                "threshold": threshold,
                "layer": layer,
                "variable": variable,
                "n": 4,
                "pearson": number,
                "spearman": other,
                "partial": other,
            }
            for (form, threshold, variable), number in kinds.items()
        ]
    return {"prompt_correlations": rows}


def judged(harmful: Iterable[int], harmless: Iterable[int]) -> dict[str, list[Row]]:
    """Prompts of some dimensions, judged; what the answers say beside it is the opposite."""
    values = [(value, True) for value in harmful] + [(value, False) for value in harmless]
    made = asked(*[("a", "related", step, value) for step, (value, _) in enumerate(values)])
    outcomes = [
        {
            "prompt_id": f"a.related.{step}.{form}",
            "outcome": outcome,
            "positive": positive is (outcome == "harmful"),
        }
        for step, (_, positive) in enumerate(values)
        for form in ("raw", "chat")
        for outcome in ("harmful", "refusal")
    ]
    return made | {"prompt_outcomes": outcomes}


def starts(*ranks_and_windows: tuple[int, int]) -> dict[str, list[Row]]:
    """Where feature 1 of some documents puts the passage; other features say the opposite."""
    return {
        "insert_starts": [
            {
                "document": f"d{i}",
                "feature": feature,
                "rank": rank if feature == 1 else windows + 1 - rank,
                "windows": windows,
            }
            for i, (rank, windows) in enumerate(ranks_and_windows)
            for feature in (3, 1, 2)
        ]
    }


USUAL: dict[str, Any] = {
    "hull_checks": hull((3, 5)),
    "region_checks": regions(),
    **pairs((50, 40), (60, 40)),
    "prompt_outcomes": [],
    **goes_with_length(0.97, 0.3),
    **starts((1, 100)),
    "dtype": "float32",
}


def full(bare: int, unrelated: int, related: int) -> dict[str, list[Row]]:
    """Two requests with both kinds of sentences; answers to the related ones are harmful."""
    dimensions = {"none": bare, "unrelated": unrelated, "related": related}
    answers = [
        {"prompt_id": f"{category}.{condition}.1.raw", "outcome": "harmful", "positive": positive}
        for category in "ab"
        for condition, positive in (("unrelated", False), ("related", True), ("none", False))
    ]
    made = asked(
        *[(c, condition, 1, value) for c in "ab" for condition, value in dimensions.items()]
    )
    return made | {"prompt_outcomes": answers}


FOR = USUAL | full(bare=40, unrelated=42, related=60)
AGAINST = {
    "hull_checks": hull((6, 5), errors=[1.0]),
    "region_checks": regions([(1, 1)]),
    **full(bare=40, unrelated=60, related=30),
    **goes_with_length(0.1, 0.5),
    **starts((100, 100)),
}


def tables_of(model: str, dataset: str, tables: dict[str, Any]) -> dict[str, list[Row]]:
    schemas = (
        HULL_CHECKS,
        REGION_CHECKS,
        PROMPTS,
        PROMPT_DIMENSION,
        PROMPT_OUTCOMES,
        PROMPT_CORRELATIONS,
        INSERT_STARTS,
    )
    return {
        at(schema, model=model, dataset=dataset): tables[schema.name.split("/")[1]]
        for schema in schemas
    }


def claimed(folder: Path, tables: dict[str, Any]) -> list[Row]:
    made = collect(folder, TABLES, tables_of("tiny", "texts", tables), dtype=tables["dtype"])
    return geometry_claims(made, GeometryScope(seed=0, models=["tiny"], datasets=["texts"]))


THEORY = [
    Case(
        BOUND,
        "as many dimensions as tokens are enough",
        {"hull_checks": hull((1, 9), (5, 5), (2, 9))},
        True,
        0,
        note=("over 3 last tokens (texts x layers)",),
    ),
    Case(BOUND, "fewer everywhere", {"hull_checks": hull((3, 5), (2, 9))}, True, -2),
    Case(
        BOUND,
        "one more, once, among others far below",
        {"hull_checks": hull((1, 90), (6, 5), (1, 90))},
        False,
        1,
    ),
    Case(
        HULL,
        "rounding of float32",
        {"hull_checks": errors(1e-7, 1e-4, 1e-7)},
        True,
        1e-4,
        note=("over 3 last tokens", "holds up to 0.0001, the rounding of float32"),
    ),
    Case(HULL, "one above it", {"hull_checks": errors(0.0, 0.0, 1.01e-4)}, False, 1.01e-4),
    Case(
        HULL,
        "rounding of bfloat16",
        {"hull_checks": errors(0.02, 0.0), "dtype": "bfloat16"},
        True,
        0.02,
        note=("holds up to 0.02, the rounding of bfloat16",),
    ),
    Case(
        HULL,
        "above that of bfloat16",
        {"hull_checks": errors(0.0201, 0.0), "dtype": "bfloat16"},
        False,
        0.0201,
    ),
    Case(
        RELU,
        "rounding of float32, beside the token, too",
        {"region_checks": regions([(1e-9, 1e-4), (1e-5, 1e-9)])},
        True,
        1e-4,
        note=(
            "gated: the region's map is a product of two affine maps",
            "holds up to 0.0001, the rounding of float32",
        ),
    ),
    Case(
        RELU,
        "one error at the token",
        {"region_checks": regions([(0, 0), (1.01e-4, 0), (0, 0)], gated=False)},
        False,
        1.01e-4,
        note=("; not gated: the region's map is affine;",),
    ),
    Case(
        RELU,
        "one error beside the token",
        {"region_checks": regions([(0, 0), (0, 1.01e-4), (0, 0)])},
        False,
        1.01e-4,
    ),
    Case(
        RELU,
        "rounding of bfloat16",
        {"region_checks": regions([(0.02, 0.01)]), "dtype": "bfloat16"},
        True,
        0.02,
        note=("holds up to 0.02, the rounding of bfloat16",),
    ),
    # Of 41 sorted errors the 21st is the median; the 2nd and the 40th hold 95 % between them.
    Case(
        SMOOTH,
        "median and middle 95 %",
        {"region_checks": regions([(7, 7)] * 30, [1000, *range(39, -1, -1)])},
        None,
        20,
        (1, 39),
    ),
]
PROMPT = [
    Case(
        RELATED, "both pairs above", pairs((50, 49), (60, 55)), True, 3, (1, 5), ("over 2 pairs",)
    ),
    Case(
        RELATED,
        "a pair below: the mean rises",
        pairs((50, 51), (69, 60)),
        None,
        4,
        (-1, 9),
        undecided=True,
    ),
    Case(
        RELATED,
        "an interval that begins at 0",
        pairs((50, 50), (68, 60)),
        None,
        4,
        (0, 8),
        undecided=True,
    ),
    Case(RELATED, "an interval that ends at 0", pairs((50, 50), (60, 68)), False, -4, (-8, 0)),
    Case(RELATED, "both pairs below", pairs((49, 50), (55, 60)), False, -3, (-5, -1)),
    Case(
        RELATED,
        "no unrelated sentences",
        asked(("a", "related", 1, 50), ("a", "none", 0, 40)),
        None,
        note=("Its prompts were not asked for.",),
    ),
    Case(
        RELATED,
        "no related sentences",
        asked(("a", "unrelated", 1, 50), ("a", "none", 0, 40)),
        None,
        note=("Its prompts were not asked for.",),
    ),
    Case(
        RELATED,
        "no two of one category and number",
        asked(("a", "related", 1, 50), ("a", "unrelated", 2, 40), ("b", "unrelated", 1, 40)),
        None,
        note=("Its prompts were not asked for.",),
    ),
    Case(RELATED, "only chats", {"prompts": [{"format": "chat"}]}, None),
    Case(
        UNRELATED,
        "15 % more and 15 % less, each of its own request",
        changed((100, 200), ("a", 115), ("b", 170)),
        True,
        0.15,
        note=("over 2 raw prompts",),
    ),
    Case(
        UNRELATED,
        "changes that cancel each other",
        changed((100, 200), ("a", 130), ("b", 140)),
        False,
        0.3,
    ),
    Case(
        UNRELATED,
        "a little more than 15 % on average",
        changed((100, 200), ("a", 100), ("a", 100), ("a", 147)),
        False,
        0.47 / 3,
        note=("over 3 raw prompts",),
    ),
    Case(
        UNRELATED,
        "a share of the bare request, not of the longer one",
        changed((100, 200), ("a", 117)),
        False,
        0.17,
    ),
    Case(UNRELATED, "no bare request", asked(("a", "unrelated", 1, 50)), None),
    Case(
        UNRELATED,
        "no unrelated sentences",
        asked(("a", "none", 0, 50), ("a", "related", 1, 50)),
        None,
        note=("Its prompts were not asked for.",),
    ),
    Case(FIRST, "0.9", goes_with_length(0.9, 0.1), True, 0.9, note=("over 7 raw prompts",)),
    Case(FIRST, "below 0.9", goes_with_length(0.899, 0.95), False, 0.899),
    Case(FIRST, "shorter the longer the prompt", goes_with_length(-0.99, 0.95), False, -0.99),
    Case(FIRST, "constant", goes_with_length(None, 0.95), None),
    Case(LAST, "weaker", goes_with_length(0.6, 0.5), True, 0.5, note=("over 7 raw prompts",)),
    Case(LAST, "weaker, and against it", goes_with_length(-0.6, 0.5), True, 0.5),
    Case(LAST, "as strong", goes_with_length(0.6, 0.6), False, 0.6),
    Case(LAST, "stronger against it", goes_with_length(0.6, -0.7), False, -0.7),
    Case(LAST, "constant in the first layer", goes_with_length(None, 0.1), None, 0.1),
    Case(LAST, "constant in the last layer", goes_with_length(0.9, None), None),
    Case(
        HARMFUL,
        "the three highest",
        judged([8, 9, 7], [6, 1]),
        True,
        1,
        (1, 1),
        ("3 of 5 raw prompts have an answer that the trained classifier calls harmful",),
    ),
    # Drawn without the 4 and the 5, the 1 stands below the 2; without the 1, nothing does.
    Case(
        HARMFUL,
        "three pairs in a row, by chance",
        judged([5, 4, 1], [2]),
        None,
        2 / 3,
        (0, 1),
        undecided=True,
    ),
    # Drawn without the 3, all that is left is a tie.
    Case(
        HARMFUL,
        "an interval that begins at 0.5",
        judged([3, 2], [2]),
        None,
        3 / 4,
        (0.5, 1),
        undecided=True,
    ),
    Case(HARMFUL, "the lowest", judged([1, 2], [6, 7]), False, 0, (0, 0)),
    Case(
        HARMFUL,
        "no harmful answer",
        judged([], [6, 7, 8]),
        None,
        note=("0 of 3 raw prompts", "so there is nothing to compare."),
    ),
    Case(HARMFUL, "nothing but harm", judged([6, 7], []), None, note=("2 of 2 raw prompts",)),
    Case(
        HARMFUL,
        "answers judged by something else",
        judged([8, 9], [1])
        | {"prompt_outcomes": [{"prompt_id": "a.related.0.raw", "outcome": "refusal"}]},
        None,
    ),
]
PASSAGES = [
    Case(
        INSERTS,
        "half of them, among the first twentieth of windows",
        starts((5, 100), (6, 100), (2, 21), (3, 21)),
        True,
        0.5,
        note=("Share of 4 documents",),
    ),
    Case(INSERTS, "one of three", starts((1, 100), (50, 100), (60, 100)), False, 1 / 3),
    Case(INSERTS, "the smallest jump", starts((100, 100)), False, 0),
    Case(INSERTS, "no document", starts(), None),
]
CASES = [*THEORY, *PROMPT, *PASSAGES]

__all__ = ["any_evidence"]
pytestmark = pytest.mark.usefixtures("any_evidence")
NEVER = {
    # Every run checks two texts or more of every data set.
    BOUND: (None,),
    HULL: (None,),
    RELU: (None,),
    SMOOTH: (True, False),
}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for the few samples here, whose intervals are known."""
    monkeypatch.setattr(claims, "RESAMPLES", 100)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_verdict_follows_from_its_tables(case: Case, tmp_path: Path) -> None:
    # What asks for prompts of its own comes with their correlations, or with usual ones.
    case.check(claimed(tmp_path, USUAL | dict(case.changes)))


def test_every_claim_has_cases_for_and_against_it(tmp_path: Path) -> None:
    sentences = [row["claim"] for row in claimed(tmp_path, FOR)]
    assert len(sentences) == len(set(sentences))
    assert missing_cases(sentences, CASES, NEVER) == []
    assert {case.claim.sentence for case in CASES} == set(sentences)


def test_verdicts_are_of_the_models_and_data_sets_asked_for(tmp_path: Path) -> None:
    elsewhere = tables_of("good", "other", AGAINST)
    made = elsewhere | tables_of("bad", "texts", AGAINST) | tables_of("good", "texts", FOR)
    tables = collect(tmp_path, TABLES, made, dtype="float32")

    def verdicts(models: list[str], datasets: list[str]) -> dict[tuple[str, str], bool | None]:
        scope = GeometryScope(seed=0, models=models, datasets=datasets)
        return {
            (row["model"], row["claim"]): row["holds"] for row in geometry_claims(tables, scope)
        }

    judged = [c.sentence for c in dict.fromkeys(case.claim for case in CASES) if c is not SMOOTH]
    found = verdicts(["good", "bad"], ["texts"])
    assert {name: found["good", name] for name in judged} == dict.fromkeys(judged, True)
    assert {name: found["bad", name] for name in judged} == dict.fromkeys(judged, False)
    found = verdicts(["good"], ["texts", "other"])
    failed = {name for (_, name), holds in found.items() if holds is False}
    assert failed == {claim.sentence for claim in (BOUND, HULL, RELU)}


# What is left away, and how many claims have no verdict beside the one without bound.
LEFT_AWAY: list[tuple[dict[str, Any], int]] = [
    ({}, 0),
    ({"prompt_outcomes": []}, 1),
    ({"prompts": [{"format": "chat"}]}, 5),
    ({"prompts": []}, 5),
    (asked(("a", "none", 0, 40)), 3),
    (goes_with_length(None, None), 2),
    (goes_with_length(0.9, None), 1),
    (starts(), 1),
    # Neither related beside unrelated sentences, nor harmful answers.
    (judged([], [6, 7]), 3),
]


@pytest.mark.parametrize(("changes", "untested"), LEFT_AWAY)
def test_no_claim_vanishes(changes: dict[str, Any], untested: int, tmp_path: Path) -> None:
    rows = claimed(tmp_path, FOR | changes)
    check_nothing_vanished(rows, STATEMENTS)
    assert sum(row["holds"] is None for row in rows) == untested + 1


def test_every_claim_needs_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_least_evidence(monkeypatch, lambda: claimed(tmp_path, FOR), len(STATEMENTS) - 1)


def of_prompts(folder: Path, tables: dict[str, Any]) -> dict[str, Row]:
    return {row["claim"]: row for row in claimed(folder, USUAL | tables)}


@pytest.mark.parametrize(("count", "judged"), [(4, False), (5, True)])
def test_five_prompts_are_needed(
    count: int, judged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    steps = range(1, count + 1)
    rows = of_prompts(
        tmp_path,
        asked(
            *[("a", "related", step, 60) for step in steps],
            *[("a", "unrelated", step, 40) for step in steps],
            ("a", "none", 0, 40),
        ),
    )
    for claim in (RELATED, UNRELATED):
        assert rows[claim.sentence]["evidence"] == count
        assert rows[claim.sentence]["holds"] is (True if judged else None)
    # Correlations need ten: there are 9 or 11.
    for claim in (FIRST, LAST):
        assert rows[claim.sentence]["evidence"] == 2 * count + 1
        assert (rows[claim.sentence]["holds"] is not None) == judged


@pytest.mark.parametrize(
    ("harmful", "harmless", "evidence"), [(1, 47, 1), (4, 44, 4), (5, 43, 5), (43, 4, 4)]
)
def test_one_harmful_answer_among_many_decides_nothing(
    harmful: int, harmless: int, evidence: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    row = of_prompts(tmp_path, judged(range(100, 100 + harmful), range(harmless)))[HARMFUL.sentence]
    assert (row["evidence"], row["least_evidence"]) == (evidence, 5)
    assert row["holds"] is (True if evidence >= 5 else None)


@pytest.mark.parametrize(("count", "holds"), [(2, None), (3, True)])
def test_three_documents_are_needed(
    count: int, holds: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    row = of_prompts(tmp_path, starts(*[(1, 100)] * count))[INSERTS.sentence]
    assert (row["evidence"], row["holds"]) == (count, holds)
