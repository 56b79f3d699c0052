"""Neighbours against similarities of all pairs, computed one by one with numpy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from llm_anatomy.config.contexts import Neighbours
from llm_anatomy.errors import UserError
from llm_anatomy.neurons import neighbours
from llm_anatomy.neurons.neighbours import activation_neighbours, weight_neighbours
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.stages import find_neighbours
from llm_anatomy.tables.contexts import NEIGHBOURS
from llm_anatomy.tables.core import read_provenance, read_table

from tests.unit.neurons.tools import PRECISION


def naive(vectors: list[np.ndarray], scope: str, count: int) -> dict[tuple[int, int], list]:
    """Similarities of each neuron with every other one, sorted."""
    places = [(layer, n) for layer, rows in enumerate(vectors) for n in range(len(rows))]
    found = {}
    for layer, neuron in places:
        own = vectors[layer][neuron]
        row = [
            (-(own @ vectors[k][n]) / (np.linalg.norm(own) * np.linalg.norm(vectors[k][n])), k, n)
            for k, n in places
            if (k, n) != (layer, neuron) and (scope == "model" or k == layer)
        ]
        found[layer, neuron] = [(k, n, -s) for s, k, n in sorted(row)[:count]]
    return found


def check(frame: pd.DataFrame, expected: dict[tuple[int, int], list]) -> None:
    for (layer, neuron), group in frame.groupby(["layer", "neuron"]):
        rows = expected[layer, neuron]
        assert group["rank"].tolist() == list(range(1, len(rows) + 1))
        assert group["other_layer"].tolist() == [k for k, _, _ in rows]
        assert group["other_neuron"].tolist() == [n for _, n, _ in rows]
        np.testing.assert_allclose(group["similarity"], [s for _, _, s in rows], atol=1e-5)
    assert len(frame) == sum(map(len, expected.values()))


@pytest.mark.parametrize("scope", ["layer", "model"])
def test_cosines_of_weights(tiny: Path, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks smaller than a layer, and not a divisor of it.
    monkeypatch.setattr(neighbours, "BLOCK", 13)
    weights = ModelWeights(tiny.parent)
    frames = list(weight_neighbours(weights, Neighbours(count=3, scope=scope)))
    table = pd.concat(frames)
    assert table["measure"].unique().tolist() == ["up", "gate", "down"]
    for matrix, group in table.groupby("measure"):
        vectors = [weights.vectors(k, matrix).double().numpy() for k in range(3)]
        check(group, naive(vectors, scope, 3))


@pytest.mark.parametrize("scope", ["layer", "model"])
def test_correlations_of_activations(scope: str) -> None:
    generator = torch.Generator().manual_seed(0)
    active = [torch.randn(20, 7, generator=generator) + 3 for _ in range(2)]
    table = pd.concat(activation_neighbours(active, Neighbours(count=4, scope=scope)))
    centred = [(a - a.mean(0)).T.double().numpy() for a in active]
    check(table, naive(centred, scope, 4))
    # The correlation, not the cosine.
    first = table.iloc[0]
    one, other = active[0][:, 0], active[first["other_layer"]][:, first["other_neuron"]]
    assert first["similarity"] == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-5)


def test_a_silent_neuron_correlates_with_none_and_too_few_positions_are_refused() -> None:
    active = [torch.randn(9, 3, generator=torch.Generator().manual_seed(1))]
    active[0][:, 1] = 0
    table = pd.concat(activation_neighbours(active, Neighbours(count=9)))
    assert table[table["neuron"] == 1]["similarity"].tolist() == [0, 0]
    with pytest.raises(UserError, match=r"neurons\.neighbours\.tokens leaves 2 positions"):
        list(activation_neighbours([active[0][:2]], Neighbours()))


def test_the_stage_correlates_where_there_are_texts(
    tiny: Path, texts: Path, tmp_path: Path
) -> None:
    stage = find_neighbours.NeighbourStage(
        seed=0,
        precision=PRECISION,
        neighbours=Neighbours(count=2, tokens=150),
        datasets=["mine"],
    )
    path = tmp_path / "neighbours.parquet"
    find_neighbours.run(stage, model=tiny, texts=(texts,), neighbours=path)
    table = read_table(path, NEIGHBOURS)
    assert table.groupby("measure").size().to_dict() == dict.fromkeys(
        ["activation", "down", "gate", "up"], 3 * 48 * 2
    )
    read = read_provenance(path)["read"]
    assert read["positions"] == read["tokens"] - read["read"]
    empty = find_neighbours.NeighbourStage(
        seed=0, precision=PRECISION, neighbours=Neighbours(count=2), datasets=[]
    )
    find_neighbours.run(empty, model=tiny, texts=(), neighbours=path)
    assert set(read_table(path, NEIGHBOURS)["measure"]) == {"up", "gate", "down"}
