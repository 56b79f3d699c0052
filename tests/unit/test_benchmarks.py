"""The benchmarks run, on tiny sizes, and say what they measured."""

import json

import pytest
import torch
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.proof import prove

from benchmarks import card, measure, rules, side_by_side
from benchmarks.measure import Row
from tests.tiny import tiny_model, tiny_tokenizer


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


def test_the_benchmark_beside_peers_runs_without_them(tmp_path, capsys):
    loaded = LoadedModel(prove(resolve(tiny_model("llama"))), tiny_tokenizer(), {"model": "tiny"})
    peers = tmp_path / "none"
    with torch.no_grad():
        rows = side_by_side.measure_all(
            loaded, tmp_path / "provenance.json", side_by_side.QUICK, peers, None
        )
    named = [row.name for row in rows]
    assert len(set(named)) == len(named)
    assert sum(name.startswith("sweep of") for name in named) == 5
    assert sum(name.startswith("growth over") for name in named) == 3
    assert all(row.figure > 0 for row in rows if not row.name.startswith("growth"))
    left_out = capsys.readouterr().err
    assert "the rows of transformer_lens are left out" in left_out
    assert "the row of scoring is left out" in left_out


def test_the_times_of_a_run_are_added_up_by_rule(tmp_path):
    header = "s\th:m:s\tmax_rss\tcpu_time\n"
    for path, seconds, cpu in (("map/m.tsv", 10, 9), ("map/n.tsv", 5, 4), ("other.tsv", 2, 1)):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{header}{seconds}\t0:00:{seconds}\t{100 * cpu}\t{cpu}\n")
    assert rules.by_rule(tmp_path) == [("map", 2, 15.0, 13.0, 900.0), ("other", 1, 2.0, 1.0, 100.0)]
    assert "| `map` | 2 | 15 | 13 | 900 |" in rules.table(tmp_path)
