"""Which units are switched off for each fact (sections 4.1 and 4.2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from llm_anatomy.config.facts import KnockOut
from llm_anatomy.facts.knockout import Units, attention_units, ffn_units, head_units, joined
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.statistics.random import Purpose, keyed_generator

RANDOM = "random"
# Units as (layer, number in the layer).
Places: TypeAlias = list[tuple[int, int]]
# Relation and example.
FactKey: TypeAlias = tuple[str, str]
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


def ffn_selection(places: Places, selection: str, method: str) -> Selection:
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


def head_selection(places: Places, head_dim: int, method: str, heads_of: str) -> Selection:
    """Whole heads, given as (layer, head)."""
    return Selection("heads", method, head_units(places, head_dim), len(places), heads_of)


def best_heads(importance: pd.DataFrame, share: float) -> Places:
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
    selections = []
    for name in LAYER_KINDS:
        chosen = frozenset(layers[name])
        units = Units(
            attention_layers=frozenset() if name == "ffn_layers" else chosen,
            ffn_layers=frozenset() if name == "attention_layers" else chosen,
        )
        selections.append(Selection(name, method, units, len(chosen)))
    return selections


@dataclass(frozen=True)
class UnitTables:
    """Importance of the units of many facts, each table with a column `relation`.

    Attributes:
        layers: Every layer of every fact (`facts/layer_importance`).
        heads: Every head of every fact (`facts/head_importance`).
        neurons: The FFN value neurons of every fact, best first (`facts/neuron_importance`).
        attention_neurons: The attention value neurons (`facts/attention_neuron_importance`).
        query_neurons: What activates them (`facts/query_neurons`).
    """

    layers: pd.DataFrame
    heads: pd.DataFrame
    neurons: pd.DataFrame
    attention_neurons: pd.DataFrame
    query_neurons: pd.DataFrame


class FactSelections:
    """Everything that is switched off for each of some facts."""

    def __init__(self, decoder: Decoder, units: UnitTables, settings: KnockOut, seed: int) -> None:
        self.settings, self.head_dim = settings, decoder.blocks[0].head_dim
        self.random_units = RandomUnits(decoder, seed)
        self.neurons, self.attention = by_fact(units.neurons), by_fact(units.attention_neurons)
        self.queries = by_fact(units.query_neurons)
        self.heads = {
            str(relation): best_heads(heads, settings.head_share)
            for relation, heads in units.heads.groupby("relation", sort=False)
        }
        self.layers = {
            str(relation): best_layers(layers, settings.layers)
            for relation, layers in units.layers.groupby("relation", sort=False)
        }

    def of_fact(self, key: FactKey, by_method: Mapping[str, Places]) -> list[Selection]:
        """What is switched off for one fact.

        Args:
            key: Its relation and example.
            by_method: Its best FFN neurons by each method.
        """
        settings, relation = self.settings, key[0]
        selections = [ORIGINAL]
        selections += [ffn_selection(places, "ffn", method) for method, places in by_method.items()]
        drawn = self.random_units.ffn(settings.neurons, key, "ffn")
        selections.append(ffn_selection(drawn, "ffn", RANDOM))
        if key in self.attention and key in self.neurons:
            selections += self._value_neurons(key)
        if key in self.queries:
            best = self.queries[key].head(settings.query_neurons)
            places = list(zip(best["layer"], best["neuron"], strict=True))
            drawn = self.random_units.ffn(len(places), key, "query_neurons")
            selections += [
                ffn_selection(places, "query_neurons", "inner_product"),
                ffn_selection(drawn, "query_neurons", RANDOM),
            ]
        for name, places in self.heads.items():
            selections.append(head_selection(places, self.head_dim, "log_prob_increase", name))
        if relation in self.heads:
            drawn = self.random_units.heads(len(self.heads[relation]), key)
            selections.append(head_selection(drawn, self.head_dim, RANDOM, relation))
        if settings.layers and relation in self.layers:
            selections += layer_selections(self.layers[relation], "log_prob_increase")
            drawn_layers = self.random_units.layers(settings.layers, key)
            selections += layer_selections(dict.fromkeys(LAYER_KINDS, drawn_layers), RANDOM)
        return selections

    def _value_neurons(self, key: FactKey) -> list[Selection]:
        n_attention, n_ffn = self.settings.value_neurons
        attention = self.attention[key].head(n_attention)
        chosen = value_selection(
            attention, self.neurons[key].head(n_ffn), self.head_dim, "log_prob_increase"
        )
        columns = attention[["layer", "head", "dimension"]].drop_duplicates()
        control = pd.DataFrame(
            self.random_units.ffn(chosen.count - len(columns), key, "value_neurons"),
            columns=["layer", "neuron"],
        )
        drawn = self.random_units.attention(len(columns), key)
        return [chosen, value_selection(drawn, control, self.head_dim, RANDOM)]


def by_fact(frame: pd.DataFrame) -> dict[FactKey, pd.DataFrame]:
    """Rows of every fact by relation and example."""
    groups = frame.groupby(["relation", "example_id"], sort=False)
    return {(str(key[0]), str(key[1])): part for key, part in groups}


class RandomUnits:
    """Seeded random units, the same for a fact whatever else is switched off.

    Each draw is made for a fact (relation and example) and for the control that it serves.
    """

    def __init__(self, decoder: Decoder, seed: int) -> None:
        self.blocks = decoder.blocks
        self.seed = seed

    def ffn(self, count: int, fact: FactKey, control: str) -> Places:
        """Random FFN neurons of all layers."""
        widths = [block.n_neurons for block in self.blocks]
        return self._draw(Purpose.RANDOM_FFN_NEURONS, widths, count, *fact, control)

    def heads(self, count: int, fact: FactKey) -> Places:
        """Random heads."""
        widths = [block.n_heads for block in self.blocks]
        return self._draw(Purpose.RANDOM_HEADS, widths, count, *fact)

    def layers(self, count: int, fact: FactKey) -> list[int]:
        """Random layers."""
        places = self._draw(Purpose.RANDOM_LAYERS, [1] * len(self.blocks), count, *fact)
        return [layer for layer, _ in places]

    def attention(self, count: int, fact: FactKey) -> pd.DataFrame:
        """Random attention neurons."""
        widths = [block.n_heads * block.head_dim for block in self.blocks]
        places = self._draw(Purpose.RANDOM_ATTENTION_NEURONS, widths, count, *fact)
        rows = [
            (layer, column // self.blocks[layer].head_dim, column % self.blocks[layer].head_dim)
            for layer, column in places
        ]
        return pd.DataFrame(rows, columns=["layer", "head", "dimension"])

    def _draw(self, purpose: Purpose, widths: list[int], count: int, *key: str) -> Places:
        order = keyed_generator(self.seed, purpose, *key).permutation(sum(widths))
        return list(_places(order[:count].tolist(), widths))


def _places(units: list[int], widths: list[int]) -> Iterator[tuple[int, int]]:
    for unit in units:
        layer = 0
        while unit >= widths[layer]:
            unit -= widths[layer]
            layer += 1
        yield layer, unit
