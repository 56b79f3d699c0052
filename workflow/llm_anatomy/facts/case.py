"""One fact read closely: what its best units say in tokens, and where its heads look."""

import logging
from typing import Any, TypeAlias

import pandas as pd
import torch
from torch import Tensor

from llm_anatomy.config.facts import Attribution, CaseStudy
from llm_anatomy.facts.importance import (
    Fact,
    best_attention_neurons,
    best_ffn_neurons,
    best_head_positions,
    fact_of,
    head_importance,
    layer_importance,
    position_importance,
)
from llm_anatomy.facts.readout import TargetToken, extreme_tokens
from llm_anatomy.facts.record import record_facts
from llm_anatomy.facts.subvalues import Subvalues, split_units, through_head
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.tables.core import TableSchema
from llm_anatomy.tables.fact_case import CASE_ATTENTION, CASE_CONTRASTS, CASE_STUDY

logger = logging.getLogger(__name__)

Rows: TypeAlias = list[dict[str, Any]]


def find_case(facts: pd.DataFrame, settings: CaseStudy | None) -> pd.DataFrame:
    """The fact of the case study: one row of a table `facts/facts`, or none."""
    if settings is None:
        return facts[:0]
    of_relation = facts["relation"] == settings.relation
    case = facts[of_relation & (facts["subject"] == settings.subject)]
    if case.empty:
        logger.warning(
            "facts.case_study: '%s' is not among the studied facts of '%s' (the model may not "
            "know it: see intake.parquet); its tables are empty",
            settings.subject,
            settings.relation,
        )
    return case[:1].reset_index(drop=True)


@torch.no_grad()
def read_case(
    loaded: LoadedModel,
    fact: pd.DataFrame,
    query_neurons: pd.DataFrame,
    attribution: Attribution,
    settings: CaseStudy,
    batch_tokens: int,
) -> dict[TableSchema, pd.DataFrame]:
    """Read one fact closely: its best units in tokens, contrasts, and where its heads look.

    Args:
        loaded: The model.
        fact: Its row of a table `facts/facts` (`find_case`).
        query_neurons: A table `facts/query_neurons`.
        attribution: How importance is computed.
        settings: What is shown.
        batch_tokens: Most padded tokens in one pass.

    Returns:
        The best units in tokens, the contrasts, and where the most important heads look.
    """
    row = fact.iloc[0]
    own = query_neurons[
        (query_neurons["relation"] == row["relation"])
        & (query_neurons["example_id"] == row["example_id"])
    ].head(settings.units)
    ((_, recording),) = record_facts(loaded.decoder, fact, batch_tokens)
    target, subvalues = TargetToken(int(row["target_token"])), Subvalues(loaded.decoder)
    case = CaseTables(
        fact_of(recording, target, subvalues, attribution),
        loaded.tokenizer,
        settings.units,
        settings.tokens,
    )
    places = list(zip(own["layer"].tolist(), own["neuron"].tolist(), strict=True))
    tokens = _single_tokens(loaded.tokenizer, settings.contrasts)
    units = [*case.rows(), *case.query_neurons(places, own["score"].tolist())]
    return {
        CASE_STUDY: CASE_STUDY.frame(units),
        CASE_CONTRASTS: CASE_CONTRASTS.frame(case.contrasts(tokens)),
        CASE_ATTENTION: CASE_ATTENTION.frame(case.attention_map()),
    }


def _single_tokens(tokenizer: Any, texts: list[str]) -> dict[str, int]:
    """Token of every contrast; a text of several tokens stands for its first."""
    tokens = {}
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids:
            tokens[tokenizer.decode(ids[:1])] = int(ids[0])
    return tokens


class CaseTables:
    """Rows of the case study's tables."""

    def __init__(self, fact: Fact, tokenizer: Any, units: int, tokens: int) -> None:
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
        rows: Rows = []
        for which, kind in enumerate(("attention", "ffn")):
            best = self._best(values[:, which])
            places = [{"layer": layer} for layer in best]
            vectors = parts[torch.tensor(best) * 2 + which]
            rows += self._read(kind, places, values[best, which].tolist(), vectors)
        return rows

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
        columns = self.fact.subvalues.ffn.gather(
            torch.tensor([layers[i] for i in below]), torch.tensor([neurons[i] for i in below])
        )
        neurons_below = [self._neuron_place(layers[i], neurons[i], source) for i in below]
        signs = columns.new_tensor([place["coefficient"] for place in neurons_below])[:, None]
        block = self.fact.subvalues.decoder.blocks[layer]
        state = self.fact.recording.parts(source)[: 2 * layer + 1].sum(0)
        vectors = through_head(block, head, columns * signs, state)
        places_read = [place | {"through": f"{layer}_{head}"} for place in neurons_below]
        return [
            *read,
            *self._read(
                "query_neuron_through_head", places_read, [scores[i] for i in below], vectors
            ),
        ]

    def _neurons(
        self, unit: str, layers: list[int], neurons: list[int], values: list[float], position: int
    ) -> Rows:
        places = [
            self._neuron_place(layer, neuron, position)
            for layer, neuron in zip(layers, neurons, strict=True)
        ]
        columns = self.fact.subvalues.ffn.gather(torch.tensor(layers), torch.tensor(neurons))
        factors = columns.new_tensor([place["coefficient"] for place in places])
        return self._read(unit, places, values, factors[:, None] * columns)

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
        rows: Rows = []
        for unit in self._best(values.flatten()):
            layer, head = divmod(unit, values.shape[1])
            vectors = self.fact.head_vectors[layer, head]
            bases = torch.full((len(vectors),), 2 * layer, device=vectors.device)
            gains = self.fact.increase(vectors, bases).tolist()
            tops, _ = extreme_tokens(self.fact.readout, vectors, self.n_tokens)
            for position, gain in enumerate(gains):
                rows.append(
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
        return rows

    def contrasts(self, tokens: dict[str, int]) -> Rows:
        """What every layer adds to log p(answer) - log p(contrast)."""
        rows: Rows = []
        for text, token in tokens.items():
            fact = Fact(
                self.fact.recording,
                self.fact.readout,
                TargetToken(self.fact.target.token, token),
                self.fact.subvalues,
            )
            for layer, row in enumerate(layer_importance(fact).tolist()):
                rows += [
                    {"contrast": text, "layer": layer, "kind": kind, "importance": value}
                    for kind, value in zip(("attention", "ffn"), row, strict=True)
                ]
        return rows

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
