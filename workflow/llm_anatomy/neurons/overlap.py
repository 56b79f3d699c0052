"""Are the words that a neuron decodes to those on which it fires? All neurons, against shuffles.

The decoded tokens of either end of a weight vector are looked for among the tokens on which the
neuron is strongest, and among those that follow. The control exchanges the words of every neuron
for those of another neuron of its layer: what frequent tokens on both sides give by chance.
Neurons of a layer read the same texts, so that intervals over neurons are narrower than ones over
texts would be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from llm_anatomy.config.contexts import Contexts
from llm_anatomy.config.mlp import Site
from llm_anatomy.statistics.intervals import bootstrap_weights, percentile_interval
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.contexts import CONTEXT_OVERLAP, CONTEXT_WORDS

SIGNS = (1, -1)
PLACES = ("here", "next")
# Columns that are read of the two tables.
VOCABULARY_COLUMNS = ("neuron", "matrix", "sign", "rank", "token_id")
CONTEXT_COLUMNS = ("neuron", "sign", "rank", "position", "token_id", "start", "token_ids")
MISSING = -1
# Fewest contexts, and least share of them, with which words and contexts agree or contradict.
LEAST_CONTEXTS = 2
LEAST_SHARE = 0.5


class Pairing(NamedTuple):
    """What is compared: an end of a matrix's vectors with contexts of a sign, at a place."""

    matrix: str
    end: int
    sign: int
    place: str


@dataclass(frozen=True)
class LayerOverlap:
    """One layer's neurons.

    Attributes:
        layer: The layer.
        shares: Per cell, of every neuron the share of its contexts with a decoded token; NaN for
            a neuron without contexts.
        shuffled: Per cell and neuron, its mean over the shuffles.
        shuffles: Per cell, the mean over neurons in every shuffle.
    """

    layer: int
    shares: Mapping[Pairing, Float[ndarray, " neurons"]]
    shuffled: Mapping[Pairing, Float[ndarray, " neurons"]]
    shuffles: Mapping[Pairing, Float[ndarray, " shuffles"]]


def end_of(matrix: str, sign: int, site: Site) -> int:
    """The decoded end that goes with a sign of the activation.

    What enters the down projection has the sign of the up output wherever the gate is open, and the
    gate is open where its own output is positive, whatever that sign.
    """
    return 1 if matrix == "gate" and site != "gate" else sign


def compare_layer(
    layer: int, vocabulary: pa.Table, contexts: pa.Table, settings: Contexts, seed: int
) -> tuple[pd.DataFrame, LayerOverlap]:
    """Compare decoded words with contexts for every neuron of a layer.

    Args:
        layer: The layer.
        vocabulary: `VOCABULARY_COLUMNS` of its rows of `neurons/vocabulary`.
        contexts: `CONTEXT_COLUMNS` of its rows of `neurons/contexts`.
        settings: How often words are shuffled, and what counts as activation.
        seed: Seed of the shuffles.

    Returns:
        Rows of `CONTEXT_WORDS`, and what the layer's rows of `CONTEXT_OVERLAP` are made of.
    """
    decoded = _decoded(vocabulary)
    neurons = len(next(iter(decoded.values())))
    tokens = {sign: _tokens(contexts, sign, neurons) for sign in SIGNS}
    matrices = list(dict.fromkeys(matrix for matrix, _ in decoded))
    rows = []
    for matrix, sign in product(matrices, SIGNS):
        end = end_of(matrix, sign, settings.site)
        ends = decoded[matrix, end], decoded[matrix, -end]
        rows.append(_words(layer, matrix, sign, end, tokens[sign], *ends))
    cells = [Pairing(m, end, s, p) for (m, end), s, p in product(decoded, SIGNS, PLACES)]
    shares = {cell: _share(decoded[cell[:2]], tokens[cell.sign][cell.place]) for cell in cells}
    sums = {cell: np.zeros(neurons) for cell in cells}
    means: dict[Pairing, list[float]] = {cell: [] for cell in cells}
    generator = keyed_generator(seed, Purpose.SHUFFLED_WORDS, layer)
    for _ in range(settings.shuffles):
        other = another(neurons, generator)
        for cell in cells:
            share = _share(decoded[cell[:2]][other], tokens[cell.sign][cell.place])
            sums[cell] += share
            means[cell].append(_mean(share))
    shuffled = {cell: total / settings.shuffles for cell, total in sums.items()}
    shuffles = {cell: np.array(values) for cell, values in means.items()}
    return pd.concat(rows, ignore_index=True), LayerOverlap(layer, shares, shuffled, shuffles)


def overlap_table(layers: Sequence[LayerOverlap], resamples: int, seed: int) -> pd.DataFrame:
    """`CONTEXT_OVERLAP`: every layer, then all together.

    Args:
        layers: The layers.
        resamples: Bootstrap resamples.
        seed: Seed of the resamples.
    """
    rows: list[dict[str, Any]] = []
    for one in layers:
        rows += _rows(one.layer, [one], resamples, seed)
    rows += _rows(None, layers, resamples, seed)
    return CONTEXT_OVERLAP.frame(rows)


def another(count: int, generator: np.random.Generator) -> Int[ndarray, " count"]:
    """For each of several things another one of them, each once; of one thing itself."""
    order = generator.permutation(count)
    other = np.empty(count, dtype=np.int64)
    other[order] = np.roll(order, 1)
    return other


def _rows(
    layer: int | None,
    layers: Sequence[LayerOverlap],
    resamples: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Rows of one layer, or of several together."""
    # Where no neuron has a context there is nothing to resample, and no row.
    cells = [
        cell
        for cell in layers[0].shares
        if any(not np.isnan(one.shares[cell]).all() for one in layers)
    ]
    if not cells:
        return
    shares = np.stack([np.concatenate([one.shares[c] for one in layers]) for c in cells], 1)
    shuffled = np.stack([np.concatenate([one.shuffled[c] for one in layers]) for c in cells], 1)
    there = ~np.isnan(shares)
    values = np.nan_to_num(np.concatenate([shares, shares - shuffled], 1))
    present = np.concatenate([there, there], 1).astype(np.float64)
    drawn = []
    of = "all" if layer is None else layer
    generator = keyed_generator(seed, Purpose.CONTEXT_OVERLAP, of)
    for weights in bootstrap_weights(np.arange(len(values)), resamples, generator):
        with np.errstate(invalid="ignore"):
            drawn.append(weights @ values / (weights @ present))
    lows, highs = percentile_interval(np.concatenate(drawn))
    for at, cell in enumerate(cells):
        count = int(there[:, at].sum())
        # Of several layers a shuffle is one of each; a layer without contexts has none.
        counts = [np.count_nonzero(~np.isnan(one.shares[cell])) for one in layers]
        weighed = [(one.shuffles[cell], n) for one, n in zip(layers, counts, strict=True) if n]
        each = np.average([means for means, _ in weighed], axis=0, weights=[n for _, n in weighed])
        low, high = percentile_interval(each)
        share, chance = float(shares[there[:, at], at].mean()), float(each.mean())
        yield {
            "layer": layer,
            **cell._asdict(),
            "neurons": count,
            "share": share,
            "low": lows[at],
            "high": highs[at],
            "shuffled": chance,
            "shuffled_low": low,
            "shuffled_high": high,
            "difference": share - chance,
            "difference_low": lows[len(cells) + at],
            "difference_high": highs[len(cells) + at],
        }


def _decoded(vocabulary: pa.Table) -> dict[tuple[str, int], Int[ndarray, "neurons tokens"]]:
    """Decoded tokens of every neuron by matrix and end."""
    frame = vocabulary.to_pandas().sort_values(["neuron", "rank"], kind="stable")
    neurons = int(frame["neuron"].max()) + 1
    groups = frame.groupby(["matrix", "sign"], sort=False)
    found = {
        (str(matrix), int(sign)): group["token_id"].to_numpy().reshape(neurons, -1)
        for (matrix, sign), group in groups
    }
    order = ("up", "gate", "down")
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), -item[0][1])))


def _tokens(
    contexts: pa.Table, sign: int, neurons: int
) -> dict[str, Int[ndarray, "neurons contexts"]]:
    """Tokens of every neuron's contexts of one sign, and those that follow; -1 for none."""
    ids, start, position, own, signs = (
        contexts.column(name) for name in ("token_ids", "start", "position", "token_id", "sign")
    )
    lists = ids.combine_chunks() if len(contexts) else pa.array([], pa.list_(pa.int32()))
    offsets, flat = lists.offsets.to_numpy(), np.append(lists.values.to_numpy(), MISSING)
    behind = offsets[:-1] + position.to_numpy() - start.to_numpy() + 1
    following = np.where(behind < offsets[1:], flat[np.minimum(behind, len(flat) - 1)], MISSING)
    rank, neuron = contexts.column("rank").to_numpy(), contexts.column("neuron").to_numpy()
    width = int(rank.max()) if len(rank) else 1
    chosen = signs.to_numpy() == sign
    found = {}
    for place, tokens in (("here", own.to_numpy()), ("next", following)):
        table = np.full((neurons, width), MISSING, dtype=np.int64)
        table[neuron[chosen], rank[chosen] - 1] = tokens[chosen]
        found[place] = table
    return found


def _hits(
    decoded: Int[ndarray, "neurons tokens"], tokens: Int[ndarray, "neurons contexts"]
) -> Bool[ndarray, "neurons contexts"]:
    """Which contexts hold a decoded token; ids are never -1."""
    hits: ndarray = (tokens[:, :, None] == decoded[:, None, :]).any(2)
    return hits


def _share(
    decoded: Int[ndarray, "neurons tokens"], tokens: Int[ndarray, "neurons contexts"]
) -> Float[ndarray, " neurons"]:
    """Share of each neuron's contexts that hold a decoded token; NaN without any."""
    with np.errstate(invalid="ignore"):
        share: ndarray = _hits(decoded, tokens).sum(1) / (tokens != MISSING).sum(1)
    return share


def _mean(values: Float[ndarray, " neurons"]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def _words(
    layer: int,
    matrix: str,
    sign: int,
    end: int,
    tokens: Mapping[str, Int[ndarray, "neurons contexts"]],
    same: Int[ndarray, "neurons tokens"],
    opposite: Int[ndarray, "neurons tokens"],
) -> pd.DataFrame:
    """Rows of `CONTEXT_WORDS` of one matrix and sign: neurons with a context of that sign."""
    contexts = (tokens["here"] != MISSING).sum(1)
    there = contexts > 0
    columns: dict[str, Any] = {
        "layer": layer,
        "neuron": np.flatnonzero(there),
        "matrix": matrix,
        "sign": sign,
        "end": end,
        "contexts": contexts[there],
    }
    either = {}
    for prefix, decoded in (("", same), ("opposite_", opposite)):
        hits = {place: _hits(decoded, tokens[place]) for place in PLACES}
        for place in PLACES:
            columns[f"{prefix}{place}"] = hits[place].sum(1)[there] / contexts[there]
        either[prefix] = (hits["here"] | hits["next"]).sum(1)[there] / contexts[there]
    enough = contexts[there] >= LEAST_CONTEXTS
    agree = enough & (either[""] >= LEAST_SHARE) & (either["opposite_"] == 0)
    contradict = enough & (either["opposite_"] >= LEAST_SHARE) & (either[""] == 0)
    columns["verdict"] = np.select([agree, contradict], ["agree", "contradict"], "neither")
    return pd.DataFrame(columns, columns=[column.name for column in CONTEXT_WORDS.columns])
