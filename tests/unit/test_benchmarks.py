"""The benchmarks run, on tiny sizes, and say what they measured."""

import json

import pytest

from benchmarks import card, measure
from benchmarks.measure import Row


def test_the_benchmark_of_a_card_runs_on_a_processor():
    rows, machine = card.measure(card.SIZES["tiny"], "cpu", repeats=1)
    named = {row.name: row for row in rows}
    assert len(named) == len(rows)
    assert machine["device"] == "CPU"
    assert named["certified: the same neurons"].figure == 1
    assert "map of 288 up neurons" in named
    assert sum(name.startswith("sweep of") for name in named) == 5
    assert all(row.figure > 0 for row in rows)
    assert json.loads(json.dumps(measure.document(rows, machine)))["rows"][0]["met"] in (
        True,
        False,
    )


def test_ways_take_turns_and_medians_are_taken():
    turns = []

    def way(name, values):
        found = iter(values)

        def run():
            turns.append(name)
            return next(found)

        return run

    ways = {"a": way("a", [9, 1.0, 5.0, 2.0]), "b": way("b", [9, 7.0, 3.0, 8.0])}
    assert measure.in_turns(ways, 3) == {"a": 2.0, "b": 7.0}
    assert turns == ["a", "b"] * 4


@pytest.mark.parametrize(
    ("figure", "at_most", "met"),
    [(0.9, True, True), (1.1, True, False), (0.9, False, False), (1.0, False, True)],
)
def test_a_goal_is_reached_on_its_side(figure, at_most, met):
    row = Row("x", figure, "", 1.0, at_most, "a floor", "because")
    assert row.met is met
    assert ("because" in row.cells[-1]) is not met
    assert Row("x", figure, "").met is None


def test_growth_in_proportion_has_the_exponent_one():
    sizes = [1, 2, 4, 8]
    assert measure.exponent(sizes, [3.0 * size for size in sizes]) == pytest.approx(1)
    assert measure.exponent(sizes, [size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_a_table_replaces_the_last_one_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- cpu: `make bench` -->\nold\n<!-- end of cpu -->\nb\n")
    for text in ("first", "second"):
        measure.into_page(page, "cpu", text)
    assert page.read_text() == "a\n<!-- cpu: `make bench` -->\nsecond\n<!-- end of cpu -->\nb\n"
