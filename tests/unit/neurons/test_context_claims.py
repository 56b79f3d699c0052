"""Every verdict on contexts on hand-made tables, with rows that no claim may read."""

from pathlib import Path
from typing import Any

import pytest
from llm_anatomy.neurons.context_claims import STATEMENTS, context_claims, fires_claim
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.contexts import CONTEXT_OVERLAP
from llm_anatomy.tables.core import write_table

from tests.unit.figures.tables import filled
from tests.unit.verdicts import any_evidence, check_least_evidence, check_nothing_vanished

__all__ = ["any_evidence"]
UP, GATE, DOWN = (
    f"The decoded tokens of {matrix} weights are those on which the neuron fires."
    for matrix in ("up", "gate", "down")
)
Row = dict[str, Any]


def overlap(
    matrix: str, place: str, share: float, shuffled: float, low: float, **other: Any
) -> Row:
    return {
        "layer": None,
        "matrix": matrix,
        "end": 1,
        "sign": 1,
        "place": place,
        "neurons": 300,
        "share": share,
        "low": share - 0.01,
        "high": share + 0.01,
        "shuffled": shuffled,
        "difference_low": low,
    } | other


def rows_of(*rows: Row) -> list[Row]:
    """Rows that the claims read, and others of every kind that would turn them around."""
    misleading = []
    for row in rows:
        wrong = {"share": 1 - row["share"], "difference_low": -row["difference_low"]}
        place = "next" if row["place"] == "here" else "here"
        for change in ({"layer": 2}, {"end": -1}, {"sign": -1}, {"place": place}):
            misleading.append(row | wrong | change)
    return [*misleading, *rows]


@pytest.mark.usefixtures("any_evidence")
@pytest.mark.parametrize(
    ("matrix", "place", "share", "shuffled", "low", "holds"),
    [
        ("up", "here", 0.6, 0.3, 0.05, True),
        ("up", "here", 0.6, 0.31, 0.05, False),
        ("up", "here", 0.6, 0.3, 0.0, False),
        # Ten times chance, and still no token that "is" what it fires on.
        ("up", "here", 0.0087, 0.0009, 0.005, False),
        # The interval has to lie above one half, not the share alone.
        ("up", "here", 0.505, 0.1, 0.3, False),
        ("up", "here", 0.51, 0.1, 0.3, True),
        ("gate", "here", 0.7, 0.1, 0.1, True),
        ("gate", "here", 0.01, 0.1, -0.2, False),
        ("down", "next", 0.7, 0.1, 0.1, True),
        ("down", "next", 0.6, 0.59, 0.001, False),
    ],
)
def test_words_are_fired_on(
    matrix: str, place: str, share: float, shuffled: float, low: float, holds: bool
) -> None:
    table = filled(CONTEXT_OVERLAP, rows_of(overlap(matrix, place, share, shuffled, low)))
    row = fires_claim(table, matrix, "m")
    assert (
        row["claim"]
        == f"The decoded tokens of {matrix} weights are those on which the neuron fires."
    )
    assert (row["measured_value"], row["holds"]) == (share, holds)
    assert (row["low"], row["high"]) == (share - 0.01, share + 0.01)
    assert f"with the words of other neurons {shuffled:.3g}" in row["note"]
    what = "the token that it fires on" if place == "here" else "the token that follows"
    assert what in row["note"]


def made(folder: Path, neurons: int = 300, site: str = "activation") -> Collection:
    rows = [
        overlap(matrix, place, 0.6, 0.3, 0.05, neurons=neurons)
        for matrix, place in (("up", "here"), ("gate", "here"), ("down", "next"))
    ]
    path, provenance = folder / CONTEXT_OVERLAP.path.format(model="m"), {"contexts": {"site": site}}
    write_table(path, CONTEXT_OVERLAP, filled(CONTEXT_OVERLAP, rows_of(*rows)), provenance)
    return Collection([path], [CONTEXT_OVERLAP])


def test_no_claim_vanishes(tmp_path: Path) -> None:
    rows = context_claims(made(tmp_path), ["m", "without texts"])
    check_nothing_vanished(rows, STATEMENTS)
    assert [(row["claim"], row["model"], row["holds"]) for row in rows] == [
        *((claim, "m", True) for claim in (UP, GATE, DOWN)),
        *((claim, "without texts", None) for claim in (UP, GATE, DOWN)),
    ]
    table = filled(CONTEXT_OVERLAP, [overlap("up", "here", 0.6, 0.3, 0.05)])
    without = fires_claim(table, "gate", "m")
    assert without["holds"] is None
    assert "neurons.map.matrices leaves them out" in without["note"]


def test_every_claim_needs_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = made(tmp_path)
    check_least_evidence(monkeypatch, lambda: context_claims(tables, ["m"]), 3)


@pytest.mark.parametrize(("neurons", "holds"), [(99, None), (100, True)])
def test_few_neurons_are_no_verdict(neurons: int, holds: bool | None, tmp_path: Path) -> None:
    rows = context_claims(made(tmp_path, neurons), ["m"])
    assert {row["holds"] for row in rows} == {holds}


@pytest.mark.parametrize("site", ["gate", "up"])
def test_contexts_of_another_tensor_are_no_verdict(site: str, tmp_path: Path) -> None:
    rows = context_claims(made(tmp_path, site=site), ["m"])
    assert [row["holds"] for row in rows] == [None] * 3
    assert f"contexts are of the tensor '{site}'" in rows[0]["note"]
    assert "neurons.contexts.site" in rows[0]["note"]
