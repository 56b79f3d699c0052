"""All importance tables of one fact."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from llm_anatomy.config.facts import Attribution
from llm_anatomy.facts.importance import (
    Fact,
    best_attention_neurons,
    best_ffn_neurons,
    best_head_positions,
    ffn_coefficients,
    ffn_increase,
    head_importance,
    layer_importance,
    position_importance,
)
from llm_anatomy.facts.readout import TargetToken, extreme_tokens, interpolated_scores
from llm_anatomy.facts.search import CHUNK, Best
from llm_anatomy.facts.subvalues import split_units
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import TableSchema

TOKENS_SHOWN = 10

# The tables with rows of every fact.
COLLECTED = (
    tables.LAYER_IMPORTANCE,
    tables.HEAD_IMPORTANCE,
    tables.HEAD_POSITION_IMPORTANCE,
    tables.POSITION_IMPORTANCE,
    tables.NEURON_IMPORTANCE,
    tables.ATTENTION_NEURON_IMPORTANCE,
    tables.CERTIFICATES,
    tables.SUMS,
)


class FactTables:
    """Collects the rows of all importance tables, fact by fact."""

    def __init__(self, tokenizer: Any, settings: Attribution) -> None:
        self.tokenizer, self.settings = tokenizer, settings
        self.rows: dict[TableSchema, list[dict[str, Any]]] = {schema: [] for schema in COLLECTED}
        self.curves: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, example_id: str, fact: Fact, sums: bool) -> dict[str, float]:
        """Add one fact's rows; return its layer sums and the check of the telescoping identity.

        Args:
            example_id: The fact.
            fact: Its recording, readout and target.
            sums: Whether every FFN neuron is evaluated for the sums.
        """
        named = {"example_id": example_id}
        tokens = self.tokens(fact.recording.tokens.tolist())
        layers = self._layers(named, fact)
        self._heads(named, fact)
        for layer, row in enumerate(position_importance(fact).tolist()):
            self.rows[tables.POSITION_IMPORTANCE] += [
                named
                | {"layer": layer, "position": p, "position_token": tokens[p], "importance": v}
                for p, v in enumerate(row)
            ]
        self._head_positions(named, fact, tokens)
        self._ffn_neurons(named, fact, sums)
        self._attention_neurons(named, fact, tokens)
        states = fact.states
        self.curves.append(
            interpolated_scores(
                fact.readout, states[0], states[-1], fact.target, self.settings.curve_points
            )
        )
        attention, ffn = layers.double().sum(0).tolist()
        start = float(fact.scores[0])
        reached = _model_score(fact)
        return {
            "start_logprob": start,
            "final_logprob": float(fact.scores[-1]),
            "attention": attention,
            "ffn": ffn,
            "telescoping_error": abs(attention + ffn - (reached - start)),
        }

    def _layers(self, named: dict[str, Any], fact: Fact) -> torch.Tensor:
        layers = layer_importance(fact)
        plain = TargetToken(fact.target.token)
        tops = fact.probabilities.max(-1)
        names = self.tokens(fact.logits.argmax(-1).tolist())
        chances = fact.probabilities[:, plain.token]
        for layer in range(len(layers)):
            for which, kind in enumerate(("attention", "ffn")):
                step = 2 * layer + which + 1
                self.rows[tables.LAYER_IMPORTANCE].append(
                    named
                    | {
                        "layer": layer,
                        "kind": kind,
                        "importance": float(layers[layer, which]),
                        "logprob": float(fact.scores[step]),
                        "prob_increase": float(chances[step] - chances[step - 1]),
                        "top_token": names[step],
                        "top_probability": float(tops.values[step]),
                    }
                )
        return layers

    def _heads(self, named: dict[str, Any], fact: Fact) -> None:
        for layer, row in enumerate(head_importance(fact).tolist()):
            self.rows[tables.HEAD_IMPORTANCE] += [
                named | {"layer": layer, "head": head, "importance": value}
                for head, value in enumerate(row)
            ]

    def _head_positions(self, named: dict[str, Any], fact: Fact, tokens: list[str]) -> None:
        if not self.settings.head_positions:
            return
        at, best = best_head_positions(fact, self.settings.head_positions)
        self._certificate(named, "head_position", best)
        places = zip(
            at.layer.tolist(),
            at.head.tolist(),
            at.position.tolist(),
            best.values.tolist(),
            strict=True,
        )
        for rank, (layer, head, position, value) in enumerate(places, start=1):
            self.rows[tables.HEAD_POSITION_IMPORTANCE].append(
                named
                | {
                    "rank": rank,
                    "layer": layer,
                    "head": head,
                    "position": position,
                    "position_token": tokens[position],
                    "attention": float(fact.recording.weights[layer][head, position]),
                    "importance": value,
                }
            )

    def _ffn_neurons(self, named: dict[str, Any], fact: Fact, sums: bool) -> None:
        coefficients = ffn_coefficients(fact)
        best = best_ffn_neurons(fact, self.settings.neurons)
        self._certificate(named, "ffn_neuron", best)
        layers, neurons = split_units(best.units, fact.subvalues.widths)
        for rank, (layer, neuron, value) in enumerate(
            zip(layers.tolist(), neurons.tolist(), best.values.tolist(), strict=True), start=1
        ):
            self.rows[tables.NEURON_IMPORTANCE].append(
                named
                | {
                    "rank": rank,
                    "layer": layer,
                    "neuron": neuron,
                    "importance": value,
                    "coefficient": float(fact.recording.coefficients[layer][-1, neuron]),
                }
            )
        self._sums(named, "ffn", best)
        if sums:
            units = torch.arange(len(coefficients), device=coefficients.device)
            every = torch.cat(
                [ffn_increase(fact, coefficients, part) for part in units.split(CHUNK)]
            ).double()
            self._sum(named, "ffn", "all", every.sum())
            self._sum(named, "ffn", "positive", every.clamp(min=0).sum())

    def _attention_neurons(self, named: dict[str, Any], fact: Fact, tokens: list[str]) -> None:
        if not self.settings.attention_neurons:
            return
        at, best = best_attention_neurons(fact, self.settings.attention_neurons)
        self._certificate(named, "attention_neuron", best)
        for rank, (layer, head, position, dimension, value) in enumerate(
            zip(
                at.layer.tolist(),
                at.head.tolist(),
                at.position.tolist(),
                at.dimension.tolist(),
                best.values.tolist(),
                strict=True,
            ),
            start=1,
        ):
            self.rows[tables.ATTENTION_NEURON_IMPORTANCE].append(
                named
                | {
                    "rank": rank,
                    "layer": layer,
                    "head": head,
                    "dimension": dimension,
                    "position": position,
                    "position_token": tokens[position],
                    "importance": value,
                }
            )
        self._sums(named, "attention", best)

    def _sums(self, named: dict[str, Any], kind: str, best: Best) -> None:
        for count in (100, 200):
            if len(best.values) >= count:
                self._sum(named, kind, f"top{count}", best.values[:count].double().sum())

    def _sum(self, named: dict[str, Any], kind: str, subset: str, total: torch.Tensor) -> None:
        self.rows[tables.SUMS].append(
            named | {"kind": kind, "subset": subset, "importance": float(total)}
        )

    def _certificate(self, named: dict[str, Any], units: str, best: Best) -> None:
        finite = best.next_bound > -torch.inf
        self.rows[tables.CERTIFICATES].append(
            named
            | {
                "units": units,
                "kept": len(best.units),
                "in_all": best.n_units,
                "evaluated": best.evaluated,
                "kth_value": float(best.values[-1]),
                "next_bound": best.next_bound if finite else None,
                "certified": best.certified,
            }
        )

    def read_neurons(self, fact: Fact) -> None:
        """Give every collected neuron the tokens at both ends of its subvalue.

        The final norm's scale does not change their order, so any fact's readout serves.
        """
        rows = self.rows[tables.NEURON_IMPORTANCE]
        places = sorted({(row["layer"], row["neuron"]) for row in rows})
        starts = [sum(fact.subvalues.widths[:layer]) for layer in range(fact.recording.n_layers)]
        units = torch.tensor([starts[layer] + neuron for layer, neuron in places])
        vectors = fact.subvalues.ffn_columns(units.to(fact.states.device))
        tops, bottoms = extreme_tokens(fact.readout, vectors, TOKENS_SHOWN)
        texts = {
            place: (self.joined(top), self.joined(bottom))
            for place, top, bottom in zip(places, tops.tolist(), bottoms.tolist(), strict=True)
        }
        for row in rows:
            row["top_tokens"], row["bottom_tokens"] = texts[row["layer"], row["neuron"]]

    def frames(self, order: Sequence[str]) -> dict[TableSchema, pd.DataFrame]:
        """All tables, with facts in a given order; the interpolation curve is their mean."""
        place = {example_id: row for row, example_id in enumerate(order)}
        return {
            schema: schema.frame(sorted(rows, key=lambda row: place[row["example_id"]]))
            for schema, rows in self.rows.items()
        } | {tables.CURVE: self._curve()}

    def _curve(self) -> pd.DataFrame:
        if not self.curves:
            return tables.CURVE.frame([])
        points = self.settings.curve_points
        return pd.DataFrame(
            {
                "share": [step / (points - 1) for step in range(points)],
                "logprob": torch.stack([logs for logs, _ in self.curves]).mean(0).tolist(),
                "probability": torch.stack([p for _, p in self.curves]).mean(0).tolist(),
                "facts": len(self.curves),
            }
        )

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Texts of tokens, one by one."""
        return [self.tokenizer.decode([token]) for token in ids]

    def joined(self, ids: Sequence[int]) -> str:
        """Texts of tokens in one cell, separated by ` | `, spaces and line breaks visible."""
        return " | ".join(text.replace("\n", "⏎") for text in self.tokens(ids))


def _model_score(fact: Fact) -> float:
    """The target's score by the model itself, which the parts must reach."""
    if fact.readout.mode == "none":
        return float(fact.scores[-1])
    logs = fact.recording.log_probabilities
    score = logs[fact.target.token]
    if fact.target.contrast is not None:
        score = score - logs[fact.target.contrast]
    return float(score)
