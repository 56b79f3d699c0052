"""One fact read closely: what its best units say in tokens, and where its heads look."""

from typing import Any

import torch
from torch import Tensor

from llm_anatomy.facts.importance import (
    Explained,
    best_attention_neurons,
    best_ffn_neurons,
    best_head_positions,
    head_importance,
    layer_importance,
    position_importance,
)
from llm_anatomy.facts.readout import Target, extreme_tokens
from llm_anatomy.facts.subvalues import split_units, through_head

Rows = list[dict[str, Any]]


class Case:
    """Rows of the case study's tables."""

    def __init__(self, fact: Explained, tokenizer: Any, units: int, tokens: int) -> None:
        self.fact, self.tokenizer, self.units, self.n_tokens = fact, tokenizer, units, tokens
        self.source = [tokenizer.decode([i]) for i in fact.recording.tokens.tolist()]

    def rows(self) -> Rows:
        """The most important units of every kind, best first."""
        return [
            *self._layers(),
            *self._heads(),
            *self._positions(),
            *self._head_positions(),
            *self._ffn_neurons(),
            *self._attention_neurons(),
        ]

    def _layers(self) -> Rows:
        values, parts = layer_importance(self.fact), self.fact.recording.parts()[1:]
        found: Rows = []
        for which, kind in enumerate(("attention", "ffn")):
            best = self._best(values[:, which])
            places = [{"layer": layer} for layer in best]
            vectors = parts[torch.tensor(best) * 2 + which]
            found += self._read(kind, places, values[best, which].tolist(), vectors)
        return found

    def _heads(self) -> Rows:
        values = head_importance(self.fact)
        n_heads = values.shape[1]
        best = self._best(values.flatten())
        places = [{"layer": unit // n_heads, "index": unit % n_heads} for unit in best]
        vectors = self.fact.head_vectors.sum(2).flatten(0, 1)[best]
        return self._read("head", places, values.flatten()[best].tolist(), vectors)

    def _positions(self) -> Rows:
        values = position_importance(self.fact)
        n_tokens = values.shape[1]
        best = self._best(values.flatten())
        places = [
            {"layer": unit // n_tokens, "position_token": self.source[unit % n_tokens]}
            for unit in best
        ]
        vectors = self.fact.head_vectors.sum(1).flatten(0, 1)[best]
        return self._read("position", places, values.flatten()[best].tolist(), vectors)

    def _head_positions(self) -> Rows:
        at, best = best_head_positions(self.fact, self.units)
        places = [
            {
                "layer": layer,
                "index": head,
                "position_token": self.source[position],
                "attention": float(self.fact.recording.weights[layer][head, position]),
            }
            for layer, head, position in zip(
                at.layer.tolist(), at.head.tolist(), at.position.tolist(), strict=True
            )
        ]
        vectors = self.fact.head_vectors[at.layer, at.head, at.position]
        return self._read("head_position", places, best.values.tolist(), vectors)

    def _ffn_neurons(self) -> Rows:
        best = best_ffn_neurons(self.fact, self.units)
        layers, neurons = split_units(best.units, self.fact.subvalues.widths)
        return self._neurons(
            "ffn_neuron", layers.tolist(), neurons.tolist(), best.values.tolist(), -1
        )

    def query_neurons(self, places: list[tuple[int, int]], scores: list[float]) -> Rows:
        """Given query neurons with their scores, at the source of the best attention neuron.

        Those below its layer are read a second time, through its head (section 4.4: what looks
        meaningless in vocabulary space may not be so behind the head that reads it).
        """
        if not places:
            return []
        layers, neurons = [layer for layer, _ in places], [neuron for _, neuron in places]
        at, _ = best_attention_neurons(self.fact, 1)
        layer, head, source = int(at.layer[0]), int(at.head[0]), int(at.position[0])
        read = self._neurons("query_neuron", layers, neurons, scores, source)
        below = [row for row, (earlier, _) in enumerate(places) if earlier < layer]
        if not below:
            return read
        columns = torch.stack([self.fact.subvalues.ffn[layers[i]][:, neurons[i]] for i in below])
        found = [self._neuron_place(layers[i], neurons[i], source) for i in below]
        signs = columns.new_tensor([place["coefficient"] for place in found])[:, None]
        block = self.fact.subvalues.decoder.blocks[layer]
        state = self.fact.recording.parts(source)[: 2 * layer + 1].sum(0)
        vectors = through_head(block, head, columns * signs, state)
        places_read = [place | {"through": f"{layer}_{head}"} for place in found]
        return [
            *read,
            *self._read(
                "query_neuron_through_head", places_read, [scores[i] for i in below], vectors
            ),
        ]

    def _neurons(
        self, unit: str, layers: list[int], neurons: list[int], values: list[float], position: int
    ) -> Rows:
        columns = self.fact.subvalues.ffn
        found = [
            self._neuron_place(layer, neuron, position)
            for layer, neuron in zip(layers, neurons, strict=True)
        ]
        vectors = [
            columns[place["layer"]][:, place["index"]] * place["coefficient"] for place in found
        ]
        return self._read(unit, found, values, torch.stack(vectors))

    def _neuron_place(self, layer: int, neuron: int, position: int) -> dict[str, Any]:
        return {
            "layer": layer,
            "index": neuron,
            "position_token": self.source[position],
            "coefficient": float(self.fact.recording.coefficients[layer][position, neuron]),
        }

    def _attention_neurons(self) -> Rows:
        at, best = best_attention_neurons(self.fact, self.units)
        n_dims = self.fact.subvalues.decoder.blocks[0].head_dim
        places, scalars = [], []
        for layer, head, position, dimension in zip(
            at.layer.tolist(),
            at.head.tolist(),
            at.position.tolist(),
            at.dimension.tolist(),
            strict=True,
        ):
            own = self.fact.subvalues.attention_coefficients(self.fact.recording, layer)
            scalars.append(own[head, position, dimension])
            places.append(
                {
                    "layer": layer,
                    "index": head,
                    "dimension": dimension,
                    "position_token": self.source[position],
                    "attention": float(self.fact.recording.weights[layer][head, position]),
                    "coefficient": float(scalars[-1]),
                }
            )
        columns = self.fact.subvalues.attention_columns(at.layer, at.head * n_dims + at.dimension)
        vectors = columns * torch.stack(scalars)[:, None]
        return self._read("attention_neuron", places, best.values.tolist(), vectors)

    def attention_map(self) -> Rows:
        """Where the most important heads look, and what they write from every position."""
        values = head_importance(self.fact)
        found: Rows = []
        for unit in self._best(values.flatten()):
            layer, head = divmod(unit, values.shape[1])
            vectors = self.fact.head_vectors[layer, head]
            bases = torch.full((len(vectors),), 2 * layer, device=vectors.device)
            gains = self.fact.increase(vectors, bases).tolist()
            tops, _ = extreme_tokens(self.fact.readout, vectors, self.n_tokens)
            for position, gain in enumerate(gains):
                found.append(
                    {
                        "layer": layer,
                        "head": head,
                        "position": position,
                        "position_token": self.source[position],
                        "attention": float(self.fact.recording.weights[layer][head, position]),
                        "importance": gain,
                        "top_tokens": self._texts(tops[position]),
                    }
                )
        return found

    def contrasts(self, tokens: dict[str, int]) -> Rows:
        """What every layer adds to log p(answer) - log p(contrast)."""
        found: Rows = []
        for text, token in tokens.items():
            fact = Explained(
                self.fact.recording,
                self.fact.readout,
                Target(self.fact.target.token, token),
                self.fact.subvalues,
            )
            for layer, row in enumerate(layer_importance(fact).tolist()):
                found += [
                    {"contrast": text, "layer": layer, "kind": kind, "importance": value}
                    for kind, value in zip(("attention", "ffn"), row, strict=True)
                ]
        return found

    def _best(self, values: Tensor) -> list[int]:
        order = values.argsort(descending=True, stable=True)
        return [int(unit) for unit in order[: self.units]]

    def _read(self, unit: str, places: Rows, values: list[float], vectors: Tensor) -> Rows:
        tops, bottoms = extreme_tokens(self.fact.readout, vectors, self.n_tokens)
        empty = dict.fromkeys(
            ("index", "dimension", "position_token", "through", "attention", "coefficient")
        )
        return [
            {"unit": unit, "rank": rank}
            | empty
            | place
            | {
                "importance": value,
                "top_tokens": self._texts(top),
                "bottom_tokens": self._texts(bottom),
            }
            for rank, (place, value, top, bottom) in enumerate(
                zip(places, values, tops, bottoms, strict=True), start=1
            )
        ]

    def _texts(self, ids: Tensor) -> str:
        return " | ".join(
            self.tokenizer.decode([token]).replace("\n", "⏎") for token in ids.tolist()
        )
