"""Figures of grids show the columns they name, and captions their tables' numbers."""

from pathlib import Path

import numpy as np
import pytest
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.figures.grids import (
    ROLES,
    effect_exhibit,
    grid_exhibits,
    lens_exhibit,
    tracing_exhibit,
)
from llm_anatomy.tables.facts import FACTS
from llm_anatomy.tables.grids import LENS_GRID, TRACED_FACTS, TRACING_EFFECTS
from matplotlib.colors import to_hex

from tests.unit.figures.drawn import (
    bands,
    by_title,
    colour_bars,
    draws,
    figure_legend,
    heat,
    lines,
    panels,
    says,
    words,
)
from tests.unit.figures.tables import Made, collection

# Rank of the answer by layer and position, and the most likely token.
RANKS = {(-1, 0): 1000, (-1, 1): 100, (0, 0): 10, (0, 1): 1, (1, 0): 5, (1, 1): 1}
TOP = {(-1, 0): "a", (-1, 1): " b", (0, 0): "\n", (0, 1): " Paris", (1, 0): "$", (1, 1): " Paris"}
# Effects by corruption, restored, role and layer.
EFFECTS = {
    ("noise", "state", "last subject"): [0.5, 0.25],
    ("noise", "state", "last"): [0.0, 0.125],
    ("noise", "ffn", "last subject"): [0.0625, -0.25],
    ("swap", "state", "last subject"): [0.75, 0.1],
    # All that was lost, behind the last layer, as with every model.
    ("swap", "state", "last"): [0.2, 1.0],
    ("swap", "ffn", "last"): [0.4, 0.05],
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exhibit]:
    owner = {"model": "m", "relation": "capitals"}
    lens = [
        {"example_id": example, "layer": layer, "position": position, "rank": rank * factor}
        | {"position_token": ("The", " France")[position], "top_token": TOP[layer, position]}
        for example, factor in (("first", 1), ("second", 7))
        for (layer, position), rank in RANKS.items()
    ]
    effects = [
        {"corruption": corruption, "restored": restored, "role": role, "layer": layer}
        | {"window": 1 if restored == "state" else 10, "facts": 6}
        | {"effect": value, "low": value - 0.03125, "high": value + 0.0625}
        for (corruption, restored, role), values in EFFECTS.items()
        for layer, value in enumerate(values)
    ]
    totals = [
        {"example_id": f"f{n}", "corruption": corruption, "clean": clean, "corrupted": left}
        for corruption, left in (("noise", 0.25), ("swap", 0.125))
        for n, clean in enumerate((0.5, 0.75))
    ]
    facts = [
        {"example_id": "first", "prompt": "The France", "answer": "Paris"},
        {"example_id": "second", "prompt": "other", "answer": "Rome"},
    ]
    empty = owner | {"relation": "empty"}
    made = [
        Made(FACTS, facts, owner),
        Made(LENS_GRID, lens, owner),
        Made(TRACING_EFFECTS, effects, owner),
        Made(TRACED_FACTS, totals, owner),
        Made(FACTS, [], empty),
        Made(LENS_GRID, [], empty),
        Made(TRACING_EFFECTS, [], empty),
        Made(TRACED_FACTS, [], empty),
        Made(LENS_GRID, lens, owner | {"model": "other"}),
    ]
    folder: Path = tmp_path_factory.mktemp("tables")
    return by_title(grid_exhibits(collection(folder, made), "m"))


LENS = "What every state would say next: capitals (m)"
TRACED = "What one restored state brings back: capitals (m)"
LAYERS = "Where restoring helps, layer by layer: capitals (m)"


def test_a_relation_without_facts_shows_nothing(shown: dict[str, Exhibit]) -> None:
    assert list(shown) == [LENS, TRACED, LAYERS]


@draws(lens_exhibit)
def test_the_lens_shows_ranks_and_tokens_of_the_first_fact(shown: dict[str, Exhibit]) -> None:
    (axes,) = panels(shown[LENS])
    found = heat(axes)
    # The last layer stands on top, as the prompt is read upwards.
    assert list(found.index) == ["1", "0", "embedding"]
    assert list(found.columns) == ["The", "France"]
    for layer, row in zip((1, 0, -1), found.to_numpy(), strict=True):
        assert row.tolist() == pytest.approx([np.log10(RANKS[layer, p]) for p in (0, 1)])
    written = [text.get_text() for text in axes.texts]
    assert written == [r"\$", "Paris", "⏎", "Paris", "a", "b"]
    assert colour_bars(shown[LENS]) == ["log10 of the answer's rank"]


@says(lens_exhibit)
def test_the_lens_says_from_which_layer_the_answer_is_first(shown: dict[str, Exhibit]) -> None:
    caption = shown[LENS].caption
    assert "“The France”" in caption
    assert "the answer, “Paris”" in caption
    assert "first from layer 0 at the earliest" in caption


@draws(tracing_exhibit)
def test_a_map_has_the_effects_of_every_corruption_and_part(shown: dict[str, Exhibit]) -> None:
    axes = panels(shown[TRACED])
    assert [words(a)[0] for a in axes] == [
        "state, noise",
        "FFN, noise",
        "state, swap",
        "FFN, swap",
    ]
    roles = [role for role in ROLES if role in {role for _, _, role in EFFECTS}]
    limits = set()
    places = [(c, r) for c in ("noise", "swap") for r in ("state", "ffn")]
    for axis, (corruption, restored) in zip(axes, places, strict=True):
        found = heat(axis)
        for number, role in enumerate(roles):
            expected = EFFECTS.get((corruption, restored, role), [np.nan, np.nan])
            assert found.to_numpy()[number].tolist() == pytest.approx(expected, nan_ok=True)
        limits.add(axis.collections[0].get_clim())
    # One scale for all, as far below zero as above.
    assert limits == {(-1.0, 1.0)}


@says(tracing_exhibit)
def test_the_map_says_what_is_lost_and_what_comes_back(shown: dict[str, Exhibit]) -> None:
    caption = shown[TRACED].caption
    assert "a window of 10 layers" in caption
    assert (
        "Under noise the probability goes from 0.625 to 0.250 over 2 facts; beside the last "
        "position's own state most comes back by the state at layer 0, last subject: 0.500."
    ) in caption
    assert (
        "Under swap the probability goes from 0.625 to 0.125 over 2 facts; beside the last "
        "position's own state most comes back by the state at layer 0, last subject: 0.750."
    ) in caption


@draws(effect_exhibit)
def test_lines_are_effects_by_layer_with_their_intervals(shown: dict[str, Exhibit]) -> None:
    axes = panels(shown[LAYERS])
    assert [words(a)[0] for a in axes] == [
        "last subject, noise",
        "last, noise",
        "last subject, swap",
        "last, swap",
    ]
    places = [(c, r) for c in ("noise", "swap") for r in ("last subject", "last")]
    for axis, (corruption, role) in zip(axes, places, strict=True):
        drawn = {label: points for label, points in lines(axis).items() if points}
        expected = {
            name: list(enumerate(map(float, EFFECTS[corruption, kind, role])))
            for kind, name in (("state", "state"), ("ffn", "FFN"))
            if (corruption, kind, role) in EFFECTS
        }
        assert {k: [tuple(map(float, p)) for p in v] for k, v in drawn.items()} == expected
        shaded = [band for band in bands(axis) if band[1]]
        assert len(shaded) == len(expected)
        for (_, ends), values in zip(shaded, expected.values(), strict=True):
            assert [low for _, low, _ in ends] == pytest.approx([v - 0.03125 for _, v in values])
            assert [high for *_, high in ends] == pytest.approx([v + 0.0625 for _, v in values])
    assert figure_legend(shown[LAYERS]) == {
        "state": to_hex(PALETTE[0]),
        "FFN": to_hex(PALETTE[1]),
    }


@says(effect_exhibit)
def test_the_caption_names_the_largest_effect_with_its_interval(shown: dict[str, Exhibit]) -> None:
    assert (
        "Beside the last position's own state, the largest is that of the state at layer 0 and the "
        "position “last subject” under swap: 0.750 [0.719, 0.812] over 6 facts."
    ) in shown[LAYERS].caption


def test_what_holds_by_construction_alone_is_no_finding(tmp_path: Path) -> None:
    """Restored is the state at the last position alone, and the answer is first at once."""
    owner = {"model": "m", "relation": "capitals"}
    lens = [
        {"example_id": "first", "layer": layer, "position": 0, "rank": 1}
        | {"position_token": "The", "top_token": " Paris"}
        for layer in (-1, 0)
    ]
    effect = {"corruption": "swap", "restored": "state", "role": "last", "layer": 0, "effect": 0.5}
    total = {"example_id": "first", "corruption": "swap", "clean": 0.25, "corrupted": 0.75}
    made = [
        Made(FACTS, [{"example_id": "first", "prompt": "The", "answer": "Paris"}], owner),
        Made(LENS_GRID, lens, owner),
        Made(TRACING_EFFECTS, [effect], owner),
        Made(TRACED_FACTS, [total], owner),
    ]
    captions = {
        title: exhibit.caption
        for title, exhibit in by_title(grid_exhibits(collection(tmp_path, made), "m")).items()
    }
    assert captions[TRACED].endswith(
        "Under swap the probability goes from 0.250 to 0.750 over 1 facts."
    )
    assert captions[LAYERS].endswith("intervals over facts.")
    assert "first from the embedding at the earliest" in captions[LENS]
