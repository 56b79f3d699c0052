"""Do the decoded words activate the neuron? Decoded tokens against tokens on which it fires.

A position counts by the token that stands there and by the token that comes next. First positions
are left out, because every neuron has its largest values on them whatever the token is; last
positions have no next token and are left out too.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.config.neurons import Activation, Matrix, Site
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import text_batches
from llm_anatomy.model.run.mlp_sites import SITE_OF, Note, noted
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.sample import DecodedTokens, matrices_of, neurons_of
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.neurons import ACTIVATION

logger = logging.getLogger(__name__)

# A row's value is what it computes; a column's is what it is scaled by.
Sampled = Mapping[tuple[int, Matrix], Sequence[int]]
MATRICES: tuple[Matrix, ...] = ("up", "gate", "down")
CONTEXT = 6


@dataclass(frozen=True)
class Recorded:
    """Values of sampled neurons at the counted positions of texts.

    Attributes:
        values: Per (layer, matrix), [positions, neurons].
        here: Token at every position.
        next: Token after it.
        place: Text and position within it.
    """

    values: dict[tuple[int, Matrix], Float[Tensor, "positions neurons"]]
    here: np.ndarray
    next: np.ndarray
    place: list[tuple[int, int]]


def sample_texts(
    tokenizer: Any,
    texts: Sequence[str],
    settings: Activation,
    seed: int,
    source: str = "the texts",
) -> tuple[list[list[int]], dict[str, int]]:
    """Token ids of a seeded sample of texts, without those that leave no position to count.

    Args:
        tokenizer: The model's tokenizer.
        texts: The texts to sample from.
        settings: How many texts, and tokens of each.
        seed: Seed of the sample.
        source: What the message calls the texts.

    Returns:
        The texts, and how many were sampled, are used, and how many positions of them count.

    Raises:
        UserError: No sampled text has three tokens or more.
    """
    order = keyed_generator(seed, Purpose.ACTIVATION_TEXTS).permutation(len(texts))
    chosen = order[: settings.texts]
    encoded = tokenizer([texts[index] for index in sorted(chosen)])["input_ids"]
    used = [ids[: settings.max_tokens] for ids in encoded if min(len(ids), settings.max_tokens) > 2]
    logger.info("%d texts, %d used, %d too short", len(chosen), len(used), len(chosen) - len(used))
    if not used:
        raise UserError(
            f"{source}: no sampled text has three tokens or more; set neurons.activation.dataset "
            "to another data set"
        )
    positions = sum(len(ids) - 2 for ids in used)
    return used, {"texts": len(chosen), "texts_used": len(used), "positions": positions}


def compare_activations(
    decoder: Decoder,
    vocabulary: Vocabulary,
    decoded: DecodedTokens,
    texts: Sequence[Sequence[int]],
    top_positions: int,
    batch_tokens: int,
) -> pd.DataFrame:
    """Compare what sampled neurons decode to with what they fire on in texts.

    Args:
        decoder: The model.
        vocabulary: Its tokens.
        decoded: The sampled neurons' decoded tokens (`sample.sampled_tokens`).
        texts: Token ids of the texts, three or more each.
        top_positions: How many positions count as firing.
        batch_tokens: Most padded tokens in one forward pass.

    Returns:
        The table `neurons/activation`.
    """
    matrices = [matrix for matrix in MATRICES if matrix in matrices_of(decoded)]
    sampled = {
        (layer, matrix): neurons_of(decoded, layer)
        for layer in range(decoder.n_layers)
        for matrix in matrices
    }
    recorded = record(decoder, texts, sampled, batch_tokens)
    rows: list[dict[str, Any]] = []
    for (layer, matrix), neurons in sampled.items():
        for column, neuron in enumerate(neurons):
            for sign in (1, -1):
                values = sign * recorded.values[layer, matrix][:, column]
                tokens = decoded[layer, matrix, neuron, sign]
                row = overlap(recorded, values, tokens, top_positions)
                text, position = row.pop("best")
                labels = {"layer": layer, "neuron": neuron, "matrix": matrix, "sign": sign}
                context = in_context(texts[text], position, vocabulary.texts)
                rows.append(labels | row | {"strongest": context})
    return ACTIVATION.frame(rows)


@torch.no_grad()
def record(
    decoder: Decoder, ids: Sequence[Sequence[int]], sampled: Sampled, budget: int
) -> Recorded:
    """Run texts and keep the sampled neurons' values at the counted positions."""
    values: dict[tuple[int, Matrix], list[Tensor]] = {key: [] for key in sampled}
    positions: list[tuple[int, int]] = []
    for batch in text_batches(ids, budget, decoder.device):
        counted = batch.mask.clone()
        counted[:, 0] = False
        counted[torch.arange(len(batch.rows)), batch.last] = False
        notes = [(block, _notes(block.index, sampled, values, counted)) for block in decoder.blocks]
        with noted(notes):
            decoder.body(input_ids=batch.input_ids, use_cache=False)
        for row, position in counted.nonzero().tolist():
            positions.append((batch.rows[row], position))
    return Recorded(
        values={key: torch.cat(parts) for key, parts in values.items()},
        here=np.array([ids[text][position] for text, position in positions]),
        next=np.array([ids[text][position + 1] for text, position in positions]),
        place=positions,
    )


def _notes(
    layer: int,
    sampled: Sampled,
    recorded: dict[tuple[int, Matrix], list[Tensor]],
    counted: Tensor,
) -> dict[Site, Note]:
    """What keeps the sampled neurons of a layer, by the site of their matrix."""
    matrices = {SITE_OF[matrix]: matrix for matrix in MATRICES if (layer, matrix) in sampled}

    def keep(site: Site, values: Float[Tensor, "*rest neurons"]) -> None:
        matrix = matrices[site]
        chosen = values.reshape(*counted.shape, -1)[counted][:, list(sampled[layer, matrix])]
        recorded[layer, matrix].append(chosen.float().cpu())

    return dict.fromkeys(matrices, keep)


def overlap(
    recorded: Recorded,
    values: Float[Tensor, " positions"],
    decoded: Sequence[int],
    top: int,
) -> dict[str, Any]:
    """Share of a neuron's strongest positions whose token is among its decoded tokens.

    Args:
        recorded: The positions.
        values: The neuron's values there, times the sign.
        decoded: Its decoded tokens of that sign.
        top: How many positions count as firing.
    """
    strongest = values.topk(min(top, len(values))).indices.numpy()
    here, following = np.isin(recorded.here, decoded), np.isin(recorded.next, decoded)
    return {
        "positions": len(strongest),
        "here": float(here[strongest].mean()),
        "next": float(following[strongest].mean()),
        "here_chance": float(here.mean()),
        "next_chance": float(following.mean()),
        "mean": float(values[strongest].mean()),
        "best": recorded.place[int(strongest[0])],
    }


def in_context(ids: Sequence[int], position: int, texts: Sequence[str | None]) -> str:
    """The words around a position, its own token in brackets."""
    words = [texts[token] or "" if token < len(texts) else "" for token in ids]
    before = "".join(words[max(0, position - CONTEXT) : position])
    after = "".join(words[position + 1 : position + 1 + CONTEXT])
    return f"{before}[{words[position]}]{after}"
