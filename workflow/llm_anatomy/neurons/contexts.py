"""The texts on which every neuron of every layer is strongest, found in one pass.

Every layer's activations are reduced as they are computed, to the strongest texts of each neuron
(`strongest.py`) and to sums and a histogram (`activity.py`): what is held does not grow with the
number of tokens. Parts of the texts may be read by as many jobs; their tables are joined here.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Bool, Int
from numpy import ndarray

from llm_anatomy.config.contexts import Contexts
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import equal_length_batches, readable_tokens
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.neurons.activity import BINS, Activity, quantiles
from llm_anatomy.neurons.compiled_activity import take_values
from llm_anatomy.neurons.reading import ReadTexts, choose_texts, tokens_in_row
from llm_anatomy.neurons.sites import run_watched
from llm_anatomy.neurons.strongest import Strongest
from llm_anatomy.progress import Progress
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.contexts import ACTIVITY, ACTIVITY_PART, CONTEXTS_PART
from llm_anatomy.tables.core import TableSchema

logger = logging.getLogger(__name__)

SHARES = (0.01, 0.1, 0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Watched:
    """What one pass over some texts left, layer by layer.

    Attributes:
        texts: The texts.
        activities: Sums of every layer.
        strongest: The strongest texts of every layer.
        before: Tokens of the windows in front of the strongest.
        words: Text of every token.
    """

    texts: ReadTexts
    activities: list[Activity]
    strongest: list[Strongest]
    before: int
    words: pa.StringArray

    def contexts(self, layer: int) -> pa.Table:
        """Rows of `CONTEXTS_PART` of a layer."""
        kept = self.strongest[layer].kept()
        tokens, begins = tokens_in_row(self.texts.ids)
        row = kept.place - self.texts.first
        offsets = np.arange(kept.window.shape[1]) - self.before
        at = kept.position[:, None] + offsets
        inside = (at >= 0) & (at < np.diff(begins)[row][:, None])
        ids = tokens[np.where(inside, begins[row][:, None] + at, 0)]
        token_ids = tokens[begins[row] + kept.position]
        columns = {
            "layer": np.full(len(row), layer),
            "neuron": kept.neuron,
            "sign": kept.sign,
            "rank": kept.rank,
            "activation": kept.activation,
            "dataset": pa.array(self.texts.datasets).take(pa.array(row)),
            "text_id": pa.array(self.texts.text_ids).take(pa.array(row)),
            "position": kept.position,
            "token_id": token_ids,
            "token": self.words.take(pa.array(token_ids)),
            "before": self._text(ids, inside & (offsets < 0)),
            "after": self._text(ids, inside & (offsets > 0)),
            "start": np.maximum(kept.position - self.before, 0),
            "token_ids": _lists(ids, inside),
            "values": _lists(kept.window, inside),
            "place": kept.place,
        }
        return _table(CONTEXTS_PART, columns)

    def activity(self, layer: int) -> pa.Table:
        """Rows of `ACTIVITY_PART` of a layer."""
        sums = self.activities[layer]
        counts = sums.counts.cpu().numpy()
        neurons = len(counts)
        bins = np.broadcast_to(np.arange(BINS, dtype=np.int16), counts.shape)
        columns = {
            "layer": np.full(neurons, layer),
            "neuron": np.arange(neurons),
            "tokens": np.full(neurons, sums.tokens),
            "above": sums.beyond[0].cpu().numpy(),
            "below": sums.beyond[1].cpu().numpy(),
            "sum": sums.sums[0].cpu().numpy(),
            "squares": sums.sums[1].cpu().numpy(),
            "minimum": -sums.extremes[1].cpu().numpy(),
            "maximum": sums.extremes[0].cpu().numpy(),
            "bins": _lists(bins, counts > 0),
            "counts": _lists(counts, counts > 0),
        }
        return _table(ACTIVITY_PART, columns)

    def _text(
        self, ids: Int[ndarray, "contexts window"], inside: Bool[ndarray, "contexts window"]
    ) -> pa.Array:
        """The text of some tokens of every window."""
        offsets = np.concatenate([[0], np.cumsum(inside.sum(1))])
        parts = self.words.take(pa.array(ids[inside]))
        return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), parts), "")


def context_texts(
    loaded: LoadedModel, texts: Mapping[str, pd.DataFrame], settings: Contexts, seed: int
) -> ReadTexts:
    """The texts to read, the same for every part of them.

    Args:
        loaded: The model.
        texts: Rows of `TEXTS` by data set, in the order of the configuration.
        settings: How many tokens are read, and of each text.
        seed: Seed of their choice.

    Raises:
        UserError: As `reading.choose_texts`, or there are fewer texts than parts.
    """
    longest = readable_tokens(loaded.decoder.config, settings.max_length)
    shortest = settings.first_positions + 1
    key, generator = "neurons.contexts.tokens", keyed_generator(seed, Purpose.CONTEXT_TEXTS)
    read = choose_texts(loaded.tokenizer, texts, settings.tokens, longest, shortest, generator, key)
    if len(read.ids) < settings.shards:
        raise UserError(
            f"neurons.contexts.shards is {settings.shards}, but {len(read.ids)} texts are read of "
            f"{', '.join(texts)}; lower it, or raise {key}"
        )
    return read


def contexts_provenance(
    read: ReadTexts, settings: Contexts, layers: int, seed: int
) -> dict[str, Any]:
    """What the tables of contexts record of their making: also what was read and left out."""
    left_out = settings.first_positions * read.counts["read"]
    return {
        "seed": seed,
        "layers": layers,
        "contexts": settings.model_dump(
            mode="json", exclude={"datasets", "shards", "shuffles", "resamples"}
        ),
        "read": read.counts | {"positions_left_out": left_out},
    }


def watch_neurons(
    decoder: Decoder,
    words: Sequence[str | None],
    texts: ReadTexts,
    settings: Contexts,
    batch_tokens: int,
) -> Watched:
    """Run texts once and keep what every neuron of every layer did.

    Args:
        decoder: The model.
        words: Text of every token id.
        texts: The texts, each longer than the positions that do not count.
        settings: What counts, and how much is kept.
        batch_tokens: Most tokens in one forward pass.

    Raises:
        UserError: The site is the gate, and the model has none.
    """
    neurons = [block.n_neurons for block in decoder.blocks]
    size, device = (settings.count, settings.before, settings.after), decoder.device
    activities = [Activity.empty(count, device) for count in neurons]
    strongest = [Strongest(count, *size, device) for count in neurons]
    with Progress(sum(map(len, texts.ids)), "tokens", "find_contexts") as progress:
        for batch in equal_length_batches(texts.ids, batch_tokens, device=device):
            places = torch.tensor(batch.rows, device=device) + texts.first

            def see(layer: int, values: torch.Tensor, places: torch.Tensor = places) -> None:
                first, threshold = settings.first_positions, settings.threshold
                peaks = take_values(activities[layer], values, first, threshold)
                strongest[layer].take(values, peaks, places)

            run_watched(decoder, batch, settings.site, see)
            progress.advance(int(batch.lengths.sum()))
    return Watched(texts, activities, strongest, settings.before, _words(words, texts))


def join_contexts(parts: Sequence[pa.Table], count: int) -> pa.Table:
    """Contexts of one layer from those in parts of the texts: the strongest of all.

    Args:
        parts: Rows of `CONTEXTS_PART`, of one layer.
        count: Contexts kept per neuron and sign.

    Returns:
        Rows of `CONTEXTS`.
    """
    together = pa.concat_tables(part.replace_schema_metadata(None) for part in parts)
    neuron, sign, place, activation = (
        together.column(name).to_numpy() for name in ("neuron", "sign", "place", "activation")
    )
    order = np.lexsort((place, -np.abs(activation), -sign, neuron))
    group = np.stack([neuron, sign], 1)[order]
    begins = np.concatenate([[True], (group[1:] != group[:-1]).any(1)])[: len(order)]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    rank = np.arange(len(order)) - first + 1
    kept = rank <= count
    rows = together.take(pa.array(order[kept])).drop_columns(["place"])
    field = rows.schema.get_field_index("rank")
    return rows.set_column(field, "rank", pa.array(rank[kept], pa.int16()))


def join_activity(parts: Sequence[pa.Table]) -> pa.Table:
    """Activity of one layer from sums over parts of the texts.

    Args:
        parts: Rows of `ACTIVITY_PART`, of one layer, the same neurons in each.

    Returns:
        Rows of `ACTIVITY`.
    """
    of = {name: [part.column(name).to_numpy() for part in parts] for name in _SUMMED}
    tokens, above, below, total, squares = (sum(of[name]) for name in _SUMMED)
    lowest = np.min([part.column("minimum").to_numpy() for part in parts], axis=0)
    highest = np.max([part.column("maximum").to_numpy() for part in parts], axis=0)
    counts = np.sum([_histogram(part) for part in parts], axis=0)
    mean = total / tokens
    variance = np.maximum(squares / tokens - mean**2, 0)
    columns = {
        "layer": parts[0].column("layer"),
        "neuron": parts[0].column("neuron"),
        "tokens": tokens,
        "density": above / tokens,
        "negative_density": below / tokens,
        "mean": mean,
        "std": np.sqrt(variance),
        "minimum": lowest,
        "maximum": highest,
    }
    found = quantiles(counts, SHARES, lowest, highest)
    columns |= {f"q{share * 100:02.0f}": q for share, q in zip(SHARES, found, strict=True)}
    return _table(ACTIVITY, columns)


_SUMMED = ("tokens", "above", "below", "sum", "squares")


def _histogram(part: pa.Table) -> Int[ndarray, "neurons bins"]:
    bins, counts = (part.column(name).combine_chunks() for name in ("bins", "counts"))
    rows = np.repeat(np.arange(len(part)), np.diff(bins.offsets.to_numpy()))
    histogram = np.zeros((len(part), BINS), dtype=np.int64)
    histogram[rows, bins.flatten().to_numpy()] = counts.flatten().to_numpy()
    return histogram


def _words(words: Sequence[str | None], texts: ReadTexts) -> pa.StringArray:
    """Text of every id, also of ids of the texts that are no token."""
    last = max(max(ids) for ids in texts.ids)
    known = [word or "" for word in words]
    return pa.array(known + [""] * (last + 1 - len(known)), pa.string())


def _lists(values: ndarray, inside: Bool[ndarray, "rows columns"]) -> pa.ListArray:
    """The entries of every row that are inside."""
    offsets = np.concatenate([[0], np.cumsum(inside.sum(1))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values[inside]))


def _table(schema: TableSchema, columns: dict[str, object]) -> pa.Table:
    """Columns with their declared types."""
    arrays = {
        name: values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
        for name, values in columns.items()
    }
    declared = {column.name: column.type for column in schema.columns}
    return pa.table({name: array.cast(declared[name]) for name, array in arrays.items()})
