"""Every verdict of the patching study on hand-made curves of ten layers, clean score 0.8."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from llm_anatomy.config.patching import (
    Angle,
    ArithmeticTask,
    Freeze,
    Manipulation,
    Noise,
    PatchingSettings,
    RelationTask,
    Shuffle,
    Skip,
    Switch,
    Task,
)
from llm_anatomy.patching.claims import PatchingScope, TaskSummary, patching_claims, task_claims
from llm_anatomy.patching.statements import STATEMENTS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.patching import CURVES, DEPTHS

from tests.unit.verdicts import any_evidence, check_least_evidence, check_nothing_vanished

LAYERS = 10
TOP = "Manipulating previous tokens (noise) in the final 30 % of layers costs little or nothing."
SKIPPED = "Manipulating previous tokens (skip) in the final 30 % of layers costs little or nothing."
SUMS = "Leaving out attention in the top layers harms arithmetic."
DEPTH = (
    "Manipulating previous tokens (noise) costs little or nothing from half to 70 % of the depth "
    "on."
)
SKIPPED_DEPTH = DEPTH.replace("noise", "skip")
BOTTOM = "Manipulating previous tokens (noise) in early layers brings the score down to chance."
IGNORED = "A switch in the top third of layers is ignored."
FOLLOWED = "A switch before the top third is followed."
FLIP = "The answer flips from the donor's to the original between half and 70 % of the layers."

Row = dict[str, Any]

__all__ = ["any_evidence"]
pytestmark = pytest.mark.usefixtures("any_evidence")


def curve(layer: int, value: float, low: float, high: float, **other: Any) -> Row:
    return {
        "manipulation": "noise",
        "strength": None,
        "subset": "all",
        "metric": "correct",
        "layer": layer,
        "depth": layer / LAYERS,
        "layers": LAYERS,
        "value": value,
        "low": low,
        "high": high,
        "interval": "bootstrap",
        "examples": 40,
        "seeds": 3,
        "baseline": 0.8,
        "chance": 0.25,
    } | other


def skip(layer: int, value: float, low: float, high: float, **other: Any) -> Row:
    return curve(layer, value, low, high, manipulation="skip", **other)


def followed(layer: int, value: float, low: float, high: float) -> Row:
    """The share of switches that give the donor's answer."""
    return curve(
        layer,
        value,
        low,
        high,
        manipulation="switch",
        metric="modified",
        baseline=None,
        chance=None,
    )


def kept(**other: Any) -> Row:
    """The share of switches that give the original answer, which knows the clean score."""
    return curve(0, 0.1, 0.0, 0.2, **{"manipulation": "switch", "metric": "original"} | other)


def drop_free(layer: int | None, low: float | None, high: float | None, **other: Any) -> Row:
    return {
        "manipulation": "noise",
        "strength": None,
        "subset": "all",
        "metric": "correct",
        "quantity": "drop_free_10",
        "layer": layer,
        "depth": None if layer is None else layer / LAYERS,
        "low": low,
        "high": high,
        "layers": LAYERS,
    } | other


def crossover(layer: int | None, low: float | None, high: float | None, **other: Any) -> Row:
    own = {"manipulation": "switch", "metric": "original", "quantity": "crossover"}
    return drop_free(layer, low, high, **own | other)


@dataclass(frozen=True)
class Case:
    """A claim on one table, and what must come out.

    Without a verdict it is undecided where there is a value, and cannot be tested where there is
    none.
    """

    about: str
    claim: str
    holds: bool | None
    measured: float | None
    ends: tuple[float, float] | None
    curves: list[Row]
    depths: list[Row] | None = None
    task: str = "relation"
    manipulation: str = "noise"


# The clean score is 0.8, so a drop of 10 % leaves 0.72; the final 30 % begin at k = 7.
GUESSING = {"baseline": 0.25}
LITTLE = [
    Case("a small drop", TOP, True, 0.05, (0.0, 0.1), [curve(7, 0.76, 0.72, 0.8)]),
    Case(
        "small by the point, not by the interval",
        TOP,
        None,
        0.05,
        (-0.125, 0.25),
        [curve(7, 0.76, 0.6, 0.9)],
    ),
    Case(
        "large by the point, not by the interval",
        TOP,
        None,
        0.125,
        (0.0, 0.25),
        [curve(7, 0.7, 0.6, 0.8)],
    ),
    Case("just 10 %", TOP, True, 0.1, (0.1, 0.1), [curve(7, 0.72, 0.72, 0.72)]),
    Case("from 10 % on", TOP, None, 0.125, (0.1, 0.25), [curve(7, 0.7, 0.6, 0.72)]),
    Case("all above 10 %", TOP, False, 0.25, (0.125, 0.5), [curve(7, 0.6, 0.4, 0.7)]),
    Case("a rise", TOP, True, -0.125, (-0.25, 0.0), [curve(7, 0.9, 0.8, 1.0)]),
    Case(
        "only k = 7 counts",
        TOP,
        False,
        0.5,
        (0.25, 0.75),
        [curve(6, 0.8, 0.8, 0.8), curve(8, 0.8, 0.8, 0.8), curve(7, 0.4, 0.2, 0.6)],
    ),
    Case(
        "the first swept layer above 7",
        TOP,
        True,
        0.0,
        (0.0, 0.0),
        [curve(9, 0.1, 0.1, 0.1), curve(8, 0.8, 0.8, 0.8), curve(6, 0.1, 0.1, 0.1)],
    ),
    Case("a clean score at chance", TOP, None, None, None, [curve(7, 0.25, 0.2, 0.3, **GUESSING)]),
    Case(
        "a clean score below chance",
        TOP,
        None,
        None,
        None,
        [curve(7, 0.2, 0.2, 0.2, baseline=0.2)],
    ),
    Case(
        "a clean score just above chance",
        TOP,
        True,
        0.0,
        (0.0, 0.0),
        [curve(7, 0.5, 0.5, 0.5, baseline=0.5, chance=0.4375)],
    ),
    Case(
        "a clean score of zero, no chance known",
        TOP,
        None,
        None,
        None,
        [curve(7, 0.0, 0.0, 0.0, baseline=0.0, chance=None)],
    ),
    Case(
        "no chance known",
        TOP,
        False,
        0.5,
        (0.5, 0.5),
        [curve(7, 0.4, 0.4, 0.4, chance=None)],
    ),
]
SKIPS = [
    Case(
        "attention left out, no arithmetic",
        SKIPPED,
        True,
        0.05,
        (0.0, 0.1),
        [skip(7, 0.76, 0.72, 0.8)],
        manipulation="skip",
    ),
    Case(
        "attention left out, no arithmetic, a large drop",
        SKIPPED,
        False,
        0.5,
        (0.25, 0.75),
        [skip(7, 0.4, 0.2, 0.6)],
        manipulation="skip",
    ),
    Case(
        "noise in sums", TOP, False, 0.5, (0.5, 0.5), [curve(7, 0.4, 0.4, 0.4)], task="arithmetic"
    ),
    Case(
        "attention left out, no arithmetic, from half the depth on",
        SKIPPED_DEPTH,
        True,
        0.5,
        (0.4, 0.6),
        [skip(7, 0.8, 0.8, 0.8)],
        [drop_free(5, 4, 6, manipulation="skip")],
        manipulation="skip",
    ),
]
HARMED = [
    replace(case, about=f"sums: {case.about}", claim=SUMS, task="arithmetic", manipulation="skip")
    for case in (
        Case("a large drop", "", True, 0.5, (0.25, 0.75), [skip(7, 0.4, 0.2, 0.6)]),
        Case("large by the point only", "", None, 0.125, (0.0, 0.25), [skip(7, 0.7, 0.6, 0.8)]),
        Case("small by the point only", "", None, 0.05, (0.0, 0.25), [skip(7, 0.76, 0.6, 0.8)]),
        Case("just 10 %", "", False, 0.1, (0.0, 0.1), [skip(7, 0.72, 0.72, 0.8)]),
        Case("all above 10 %", "", True, 0.25, (0.125, 0.5), [skip(7, 0.6, 0.4, 0.7)]),
        Case("chance", "", None, None, None, [skip(7, 0.1, 0.0, 0.2, **GUESSING)]),
    )
]
FINE = curve(7, 0.8, 0.7, 0.9)
DEEP = [
    Case("just 70 %", DEPTH, True, 0.7, (0.3, 0.7), [FINE], [drop_free(7, 3, 7)]),
    Case("one layer more", DEPTH, False, 0.8, (0.8, 0.9), [FINE], [drop_free(8, 8, 9)]),
    Case("just 70 % by the point", DEPTH, None, 0.7, (0.3, 0.8), [FINE], [drop_free(7, 3, 8)]),
    Case("more by the point", DEPTH, None, 0.8, (0.7, 0.9), [FINE], [drop_free(8, 7, 9)]),
    Case("every layer", DEPTH, True, 0.0, (0.0, 0.0), [FINE], [drop_free(0, 0, 0)]),
    Case("no layer", DEPTH, False, 1.0, (0.9, 1.0), [FINE], [drop_free(None, 9, 10)]),
    Case("no interval", DEPTH, True, 0.5, None, [FINE], [drop_free(5, None, None)]),
    Case(
        "a clean score at chance",
        DEPTH,
        None,
        None,
        None,
        [FINE | GUESSING],
        [drop_free(5, 4, 6)],
    ),
]
EARLY = [
    Case("down to chance", BOTTOM, True, 0.2, (0.1, 0.3), [curve(0, 0.2, 0.1, 0.3)]),
    Case(
        "above it by the point, not by the interval",
        BOTTOM,
        True,
        0.4,
        (0.25, 0.6),
        [curve(0, 0.4, 0.25, 0.6)],
    ),
    Case("above it", BOTTOM, False, 0.3, (0.26, 0.4), [curve(0, 0.3, 0.26, 0.4)]),
    Case(
        "only k = 0 counts",
        BOTTOM,
        False,
        0.5,
        (0.4, 0.6),
        [curve(1, 0.1, 0.0, 0.2), curve(0, 0.5, 0.4, 0.6)],
    ),
    Case(
        "a clean score at chance",
        BOTTOM,
        None,
        None,
        None,
        [curve(0, 0.2, 0.1, 0.3, **GUESSING)],
    ),
]
SWITCHES = [
    replace(case, manipulation="switch", curves=[kept(**other), *case.curves])
    for other, case in (
        ({}, Case("never", IGNORED, True, 0.0, (0.0, 0.05), [followed(7, 0.0, 0.0, 0.05)])),
        ({}, Case("just 5 %", IGNORED, True, 0.05, (0.0, 0.05), [followed(9, 0.05, 0.0, 0.05)])),
        ({}, Case("more", IGNORED, False, 0.1, (0.06, 0.3), [followed(7, 0.1, 0.06, 0.3)])),
        (
            {},
            Case("5 % or more", IGNORED, None, 0.05, (0, 0.06), [followed(9, 0.05, 0, 0.06)]),
        ),
        ({}, Case("more by the point", IGNORED, None, 0.1, (0.05, 1), [followed(7, 0.1, 0.05, 1)])),
        (
            {},
            Case(
                "at the worst layer of the top third",
                IGNORED,
                False,
                0.5,
                (0.4, 0.6),
                [
                    followed(6, 0.9, 0.8, 1.0),
                    followed(7, 0.0, 0.0, 0.0),
                    followed(8, 0.5, 0.4, 0.6),
                    followed(9, 0.1, 0.1, 0.1),
                ],
            ),
        ),
        (
            {},
            Case(
                "below the top third it may be followed",
                IGNORED,
                True,
                0.04,
                (0.0, 0.05),
                [followed(6, 0.9, 0.8, 1.0), followed(7, 0.04, 0.0, 0.05)],
            ),
        ),
        (
            {"baseline": 0.0, "chance": None},
            Case("no answer is right", IGNORED, None, None, None, [followed(7, 0.0, 0.0, 0.1)]),
        ),
        (
            GUESSING,
            Case(
                "the clean model guesses", IGNORED, None, None, None, [followed(7, 0.0, 0.0, 0.1)]
            ),
        ),
        ({}, Case("always", FOLLOWED, True, 0.8, (0.7, 0.9), [followed(3, 0.8, 0.7, 0.9)])),
        (
            {},
            Case(
                "too seldom by the point, not by the interval",
                FOLLOWED,
                True,
                0.5,
                (0.4, 0.73),
                [followed(3, 0.5, 0.4, 0.73)],
            ),
        ),
        ({}, Case("seldom", FOLLOWED, False, 0.5, (0.4, 0.71), [followed(3, 0.5, 0.4, 0.71)])),
        (
            {"baseline": 0.6},
            Case(
                "90 % of a low clean score",
                FOLLOWED,
                True,
                0.5,
                (0.4, 0.55),
                [followed(3, 0.5, 0.4, 0.55)],
            ),
        ),
        (
            {},
            Case(
                "only k = 3 counts",
                FOLLOWED,
                False,
                0.1,
                (0.0, 0.2),
                [
                    followed(2, 0.8, 0.7, 0.9),
                    followed(4, 0.8, 0.7, 0.9),
                    followed(3, 0.1, 0.0, 0.2),
                ],
            ),
        ),
        (
            {"baseline": 0.0, "chance": None},
            Case("no answer is right", FOLLOWED, None, None, None, [followed(3, 0.0, 0.0, 0.1)]),
        ),
    )
]
# 17/32 = 0.531 and 22/32 = 0.688; of ten layers only k = 6 lies between.
FLIPS = [
    Case(
        about,
        FLIP,
        holds,
        measured,
        ends,
        [kept(**other), followed(5, 0.1, 0.1, 0.1)],
        [row],
        manipulation="switch",
    )
    for about, holds, measured, ends, row, other in (
        ("between", True, 0.6, (0.6, 0.6), crossover(6, 6, 6), {}),
        ("between by the point only", None, 0.6, (0.2, 0.9), crossover(6, 2, 9), {}),
        ("outside by the point only", None, 0.5, (0.4, 0.6), crossover(5, 4, 6), {}),
        ("above", False, 0.7, (0.7, 0.8), crossover(7, 7, 8), {}),
        ("no interval", True, 0.6, None, crossover(6, None, None), {}),
        ("the lowest depth", True, 17 / 32, None, crossover(5, None, None, depth=17 / 32), {}),
        ("below it", False, 16 / 32, None, crossover(5, None, None, depth=16 / 32), {}),
        ("the highest depth", True, 22 / 32, None, crossover(6, None, None, depth=22 / 32), {}),
        ("above it", False, 23 / 32, None, crossover(7, None, None, depth=23 / 32), {}),
        ("the clean model guesses", None, None, None, crossover(6, 6, 6), GUESSING),
    )
]
CASES = [*LITTLE, *SKIPS, *HARMED, *DEEP, *EARLY, *SWITCHES, *FLIPS]


def others(value: float, layer: int) -> tuple[list[Row], list[Row]]:
    """Rows that no claim may read: of other subsets, strengths, metrics and manipulations."""
    places = (
        {"subset": "clean_correct"},
        {"manipulation": "other"},
        {"metric": "gold_logprob"},
        {"metric": "neither"},
        # Of the scores the first that there is counts.
        {"metric": "rouge1"},
        {"strength": 30.0},
    )
    names = ("noise", "skip", "switch")
    own = [{"manipulation": name} | place for place in places for name in names]
    switched = [own for own in places if "metric" not in own]
    curves = [
        curve(k, value, value, value, baseline=0.5, chance=0.5, **each)
        for each in own
        for k in range(LAYERS)
    ] + [
        curve(k, value, value, value, **{"manipulation": "switch", "metric": metric} | each)
        for each in switched
        for metric in ("original", "modified")
        for k in range(LAYERS)
    ]
    depths = [drop_free(layer, layer, layer, **each) for each in own]
    depths += [
        crossover(layer, layer, layer, **each) for each in switched if "strength" not in each
    ]
    for quantity in ("drop_free_5", "chance", "transition_width"):
        depths += [drop_free(layer, layer, layer, manipulation=n, quantity=quantity) for n in names]
    return curves, depths


def concluded(case: Case, value: float, layer: int) -> list[Row]:
    """The claims of one model and task."""
    curves, depths = others(value, layer)
    summary = TaskSummary(
        "m",
        "asked",
        case.task,
        CURVES.frame(curves + case.curves),
        DEPTHS.frame(depths + (case.depths or [])),
    )
    return task_claims(summary, {case.manipulation: case.manipulation})


# Of the other rows nothing holds, or everything does.
@pytest.mark.parametrize(("value", "layer"), [(0.0, 9), (1.0, 6)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.claim[:30]}: {case.about}")
def test_verdict(case: Case, value: float, layer: int) -> None:
    (row,) = [r for r in concluded(case, value, layer) if r["claim"] == case.claim]
    assert row["holds"] is case.holds
    assert row["model"] == "m"
    words = {True: "holds", False: "fails", None: "undecided"}
    assert row["verdict"] == ("untested" if case.measured is None else words[case.holds])
    assert (row["verdict"] == "undecided") == row["note"].startswith("Undecided: ")
    if case.measured is None:
        assert (row["measured_value"], row["low"], row["high"]) == (None, None, None)
        assert "cannot be tested" in row["note"]
        return
    assert row["measured_value"] == pytest.approx(case.measured)
    ends = None if row["low"] is None else (row["low"], row["high"])
    assert ends == (None if case.ends is None else pytest.approx(case.ends))
    assert "40 examples" in row["note"]


def test_every_claim_of_the_study_has_cases_that_hold_that_fail_and_that_cannot_be_tested() -> None:
    for statement in STATEMENTS:
        pattern = re.sub(r"\\{\w+\\}", ".+", re.escape(statement.sentence))
        found = {case.holds for case in CASES if re.fullmatch(pattern, case.claim)}
        assert found == {True, False, None}, pattern


@pytest.mark.parametrize(
    ("claim", "case"),
    [
        (TOP, Case("nothing swept in the top layers", TOP, None, None, None, [curve(6, 0, 0, 0)])),
        (DEPTH, replace(DEEP[0], depths=[])),
        (
            BOTTOM,
            Case("no chance known", BOTTOM, None, None, None, [curve(0, 0, 0, 0, chance=None)]),
        ),
        (IGNORED, replace(SWITCHES[0], curves=[kept(), followed(6, 0.0, 0.0, 0.1)])),
        (FLIP, replace(FLIPS[0], depths=[crossover(None, None, None)])),
    ],
)
def test_a_claim_without_rows_is_not_tested_and_says_why(claim: str, case: Case) -> None:
    (row,) = [row for row in concluded(case, 1.0, 6) if row["claim"] == claim]
    assert (row["holds"], row["measured_value"]) == (None, None)
    assert row["note"].startswith("Not tested: ")


def test_sums_are_harmed_by_skipping_so_no_depth_is_asked_for() -> None:
    rows = concluded(replace(SKIPS[-1], task="arithmetic"), 1.0, 6)
    assert SKIPPED_DEPTH not in [row["claim"] for row in rows]


def written(
    folder: Path, model: str, task: str, curves: list[Row], depths: list[Row]
) -> list[Path]:
    owner = folder / f"results/patching/{model}/{task}"
    paths = [owner / "curves.parquet", owner / "depths.parquet"]
    write_table(paths[0], CURVES, CURVES.frame(curves), {})
    write_table(paths[1], DEPTHS, DEPTHS.frame(depths), {})
    return paths


@pytest.mark.parametrize(
    "manipulation",
    [
        Noise(name="noise", positions="subject"),
        Noise(name="noise", positions=[1]),
        Noise(name="noise", keep_first=True),
        Freeze(name="noise", keep_first=True),
        Skip(name="noise", width=2),
    ],
)
def test_only_the_papers_own_manipulations_are_judged(
    manipulation: Manipulation, tmp_path: Path
) -> None:
    paths = written(
        tmp_path,
        "m",
        "asked",
        [FINE | {"low": 0.75}, curve(0, 0.2, 0.1, 0.3)],
        [drop_free(5, 5, 5)],
    )
    for used, count in ((Noise(name="noise"), 3), (manipulation, 0)):
        settings = PatchingSettings(
            tasks=[RelationTask(name="asked", relation="capitals")], manipulations=[used]
        )
        scope = PatchingScope(models=["m"], patching=settings)
        rows = patching_claims(Collection(paths, (CURVES, DEPTHS)), scope)
        check_nothing_vanished(rows, STATEMENTS)
        assert len([row for row in rows if row["holds"] is not None]) == count
        if count == 0:
            own = [row["note"] for row in rows if "(noise)" in row["claim"]]
            if used.kind == "noise":
                assert all("the manipulation 'noise' is not the paper's" in note for note in own)


def test_every_model_and_task_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    # Score at k = 7, and the layer from which on the drop is small.
    values = {
        ("a", "x"): (0.8, 9),
        ("a", "y"): (0.4, 2),
        ("b", "x"): (0.2, 3),
        ("b", "y"): (0.6, 8),
    }
    paths = []
    for (model, task), (value, layer) in (
        values | {("c", "x"): (0.7, 1), ("a", "z"): (0.7, 1)}
    ).items():
        row = curve(7, value, value, value, chance=None)
        paths += written(tmp_path, model, task, [row], [drop_free(layer, layer, layer)])
    tasks: list[Task] = [RelationTask(name=name, relation="capitals") for name in ("x", "y")]
    settings = PatchingSettings(tasks=tasks, manipulations=[Noise(name="noise")])
    scope = PatchingScope(models=["a", "b"], patching=settings)
    rows = patching_claims(Collection(paths, (CURVES, DEPTHS)), scope)
    check_nothing_vanished(rows, STATEMENTS)
    rows = [row for row in rows if row["holds"] is not None]
    found = [(row["model"], row["note"].split(",")[0], row["claim"], row["holds"]) for row in rows]
    assert [f"task {row['dataset']}" for row in rows] == [task for _, task, _, _ in found]
    assert found == [
        ("a", "task x", TOP, True),
        ("a", "task x", DEPTH, False),
        ("a", "task y", TOP, False),
        ("a", "task y", DEPTH, True),
        ("b", "task x", TOP, False),
        ("b", "task x", DEPTH, True),
        ("b", "task y", TOP, False),
        ("b", "task y", DEPTH, False),
    ]
    measured = [row["measured_value"] for row in rows]
    assert measured == pytest.approx([0.0, 0.9, 0.5, 0.2, 0.75, 0.3, 0.25, 0.8])


def test_a_note_names_the_layer_that_was_read() -> None:
    case = Case("", "", None, None, None, [curve(2, 0.2, 0.1, 0.3), curve(8, 0.8, 0.8, 0.8)])
    notes = {row["claim"]: row["note"] for row in concluded(case, 0.0, 9)}
    assert "k = 2" in notes[BOTTOM]
    assert "k = 8 of 10" in notes[TOP]


def whole_task(**clean: Any) -> tuple[list[Row], list[Row]]:
    """Curves and depths of every manipulation of the paper; everything can be judged."""
    curves, depths = [], []
    for name in ("noise", "shuffle", "freeze", "skip"):
        own = {"manipulation": name} | clean
        curves += [curve(k, 0.2, 0.0, 0.3, **own) for k in range(5)]
        curves += [curve(k, 0.8, 0.8, 0.9, **own) for k in range(5, LAYERS)]
        depths.append(drop_free(5, 4, 6, manipulation=name))
    curves += [kept(**clean)]
    curves += [
        followed(k, 0.8 if k < 6 else 0.0, 0.0, 0.9 if k < 6 else 0.05)
        | {"examples": clean.get("examples", 40)}
        for k in range(LAYERS)
    ]
    return curves, [*depths, crossover(6, 6, 6)]


PAPERS = [Noise(name="noise"), Shuffle(name="shuffle"), Freeze(name="freeze"), Skip(name="skip")]
EVERY: list[Manipulation] = [*PAPERS, Switch(name="switch")]


def claimed(
    folder: Path,
    made: tuple[list[Row], list[Row]],
    manipulations: list[Manipulation] = EVERY,
    tasks: tuple[Task, ...] = (RelationTask(name="asked", relation="capitals"),),
) -> list[Row]:
    paths = [path for task in tasks for path in written(folder, "m", task.name, *made)]
    settings = PatchingSettings(tasks=list(tasks), manipulations=manipulations)
    scope = PatchingScope(models=["m"], patching=settings)
    return patching_claims(Collection(paths, (CURVES, DEPTHS)), scope)


SUM_TASK = ArithmeticTask(name="sums")
ONLY_NOISE = RelationTask(name="asked", relation="capitals", manipulations=["noise"])


@pytest.mark.parametrize(
    ("manipulations", "tasks", "judged"),
    [
        (EVERY, (RelationTask(name="asked", relation="capitals"),), 15),
        (EVERY, (SUM_TASK,), 11),
        (EVERY, (RelationTask(name="asked", relation="capitals"), SUM_TASK), 26),
        (EVERY, (ONLY_NOISE,), 3),
        ([Noise(name="mine", keep_first=True)], (SUM_TASK,), 0),
        ([Angle(name="turned")], (RelationTask(name="asked", relation="capitals"),), 0),
        ([Switch(name="switch")], (RelationTask(name="asked", relation="capitals"),), 3),
        ([Skip(name="skip", width=1), *PAPERS[:3]], (SUM_TASK,), 9),
    ],
)
def test_no_claim_vanishes(
    manipulations: list[Manipulation], tasks: tuple[Task, ...], judged: int, tmp_path: Path
) -> None:
    rows = claimed(tmp_path, whole_task(), manipulations, tasks)
    check_nothing_vanished(rows, STATEMENTS)
    assert sum(row["holds"] is not None for row in rows) == judged


@pytest.mark.parametrize(
    ("layers", "judged"),
    # Of four manipulations: little from 70 % on, from which depth on, down to chance; of switches:
    # ignored, followed, flips.
    [(range(LAYERS), 15), ([0, 9], 4 + 4 + 4 + 2), ([0, 5], 0 + 4 + 4 + 2)],
)
def test_no_claim_vanishes_where_few_layers_are_swept(
    layers: Sequence[int], judged: int, tmp_path: Path
) -> None:
    curves, depths = whole_task()
    rows = claimed(tmp_path, ([row for row in curves if row["layer"] in layers], depths))
    check_nothing_vanished(rows, STATEMENTS)
    assert sum(row["holds"] is not None for row in rows) == judged


def test_every_claim_needs_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = (RelationTask(name="asked", relation="capitals"), SUM_TASK)
    # Three claims of four manipulations, three on switches, one on sums.
    check_least_evidence(monkeypatch, lambda: claimed(tmp_path, whole_task(), EVERY, tasks), 16)


@pytest.mark.parametrize(
    ("examples", "baseline", "chance", "right"),
    [
        (40, 1 / 40, None, 1),
        (40, 9 / 40, 0.0, 9),
        (40, 10 / 40, 0.0, 10),
        (40, 0.5, 0.25, 10),
        (40, 0.45, 0.25, 8),
        (9, 1.0, 0.0, 9),
    ],
)
def test_ten_right_answers_are_needed(
    examples: int,
    baseline: float,
    chance: float | None,
    right: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 1 of 40 right, a share of 0.000 is within any tolerance of 90 % of the clean score."""
    monkeypatch.undo()
    rows = claimed(tmp_path, whole_task(examples=examples, baseline=baseline, chance=chance))
    check_nothing_vanished(rows, STATEMENTS)
    for row in rows:
        if row["evidence"]:
            turned = min(right, round(0.8 * examples))
            expected = turned if row["claim"] in (IGNORED, FLIP) else right
            assert (row["evidence"], row["least_evidence"]) == (expected, 10)
        assert (row["holds"] is not None) == (row["evidence"] >= 10), row
    assert any(row["holds"] is not None for row in rows) == (right >= 10)


def test_a_switch_that_turns_nothing_is_not_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing follows the donor at any layer: that nothing does in the top third says nothing."""
    monkeypatch.undo()
    curves, depths = whole_task()
    for turned, holds in ((9, None), (10, True)):
        own = [
            row | {"value": turned / 40 if row["layer"] == 0 else 0.0}
            if row["metric"] == "modified"
            else row
            for row in curves
        ]
        rows = claimed(tmp_path / str(turned), (own, depths))
        found = {row["claim"]: row for row in rows}
        assert (found[IGNORED]["holds"], found[IGNORED]["evidence"]) == (holds, turned)
        assert (found[FLIP]["holds"] is None) == (holds is None)
        assert found[FOLLOWED]["evidence"] == 22
