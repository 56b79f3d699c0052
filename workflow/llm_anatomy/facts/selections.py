"""Which units are switched off for each fact (sections 4.1 and 4.2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import torch

from llm_anatomy.facts.knockout import Units, attention_units, ffn_units, head_units, joined
from llm_anatomy.model.parts.architecture import Decoder

RANDOM = "random"
# What of a layer is switched off, as in the table.
LAYER_KINDS = ("attention_layers", "ffn_layers", "layers")


@dataclass(frozen=True)
class Selection:
    """Units to switch off for one fact.

    Attributes:
        selection: What kind of units, as in the table.
        method: How they were selected.
        units: The units.
        count: How many.
        heads_of: Relation whose heads they are.
    """

    selection: str
    method: str
    units: Units
    count: int
    heads_of: str | None = None


ORIGINAL = Selection("original", "", Units(), 0)


def ffn_selection(places: list[tuple[int, int]], selection: str, method: str) -> Selection:
    """Some FFN neurons, given as (layer, neuron)."""
    return Selection(selection, method, ffn_units(places), len(set(places)))


def value_selection(
    attention: pd.DataFrame, ffn: pd.DataFrame, head_dim: int, method: str
) -> Selection:
    """Attention and FFN value neurons together; a source position is not told apart."""
    heads = set(zip(attention["layer"], attention["head"], attention["dimension"], strict=True))
    neurons = set(zip(ffn["layer"], ffn["neuron"], strict=True))
    units = joined(attention_units(heads, head_dim), ffn_units(neurons))
    return Selection("value_neurons", method, units, len(heads) + len(neurons))


def head_selection(
    places: list[tuple[int, int]], head_dim: int, method: str, heads_of: str
) -> Selection:
    """Whole heads, given as (layer, head)."""
    return Selection("heads", method, head_units(places, head_dim), len(places), heads_of)


def best_heads(importance: pd.DataFrame, share: float) -> list[tuple[int, int]]:
    """The heads with the highest mean importance over a relation's facts: a share of all."""
    means = importance.groupby(["layer", "head"])["importance"].mean()
    count = max(1, round(share * len(means)))
    best = means.sort_values(ascending=False, kind="stable").index[:count]
    return [(int(layer), int(head)) for layer, head in best]


def best_layers(importance: pd.DataFrame, count: int) -> dict[str, list[int]]:
    """The attention layers, FFN layers and whole layers with the highest mean importance."""
    means = importance.groupby(["kind", "layer"])["importance"].mean().unstack("kind")
    means["both"] = means["attention"] + means["ffn"]
    return {
        name: [
            int(layer)
            for layer in means[kind].sort_values(ascending=False, kind="stable").index[:count]
        ]
        for name, kind in zip(LAYER_KINDS, ("attention", "ffn", "both"), strict=True)
    }


def layer_selections(layers: Mapping[str, list[int]], method: str) -> list[Selection]:
    """Outputs of whole attention layers, of whole FFN layers, and of both."""
    found = []
    for name in LAYER_KINDS:
        chosen = frozenset(layers[name])
        units = Units(
            attention_layers=frozenset() if name == "ffn_layers" else chosen,
            ffn_layers=frozenset() if name == "attention_layers" else chosen,
        )
        found.append(Selection(name, method, units, len(chosen)))
    return found


class Randomly:
    """Seeded random units, the same for a fact whatever else is switched off."""

    def __init__(self, decoder: Decoder, seed: int) -> None:
        self.blocks = decoder.blocks
        self.seed = seed

    def ffn(self, count: int, fact: int) -> list[tuple[int, int]]:
        """Random FFN neurons of all layers."""
        widths = [block.n_neurons for block in self.blocks]
        return self._draw(widths, count, fact, 0)

    def heads(self, count: int, fact: int) -> list[tuple[int, int]]:
        """Random heads."""
        return self._draw([block.n_heads for block in self.blocks], count, fact, 1)

    def layers(self, count: int, fact: int) -> list[int]:
        """Random layers."""
        return [layer for layer, _ in self._draw([1] * len(self.blocks), count, fact, 3)]

    def attention(self, count: int, fact: int) -> pd.DataFrame:
        """Random attention neurons."""
        widths = [block.n_heads * block.head_dim for block in self.blocks]
        places = self._draw(widths, count, fact, 2)
        rows = [
            (layer, column // self.blocks[layer].head_dim, column % self.blocks[layer].head_dim)
            for layer, column in places
        ]
        return pd.DataFrame(rows, columns=["layer", "head", "dimension"])

    def _draw(self, widths: list[int], count: int, fact: int, stream: int) -> list[tuple[int, int]]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + fact) * 4 + stream)
        units = torch.randperm(sum(widths), generator=generator)[:count].tolist()
        return list(_places(units, widths))


def _places(units: list[int], widths: list[int]) -> Iterator[tuple[int, int]]:
    for unit in units:
        layer = 0
        while unit >= widths[layer]:
            unit -= widths[layer]
            layer += 1
        yield layer, unit
