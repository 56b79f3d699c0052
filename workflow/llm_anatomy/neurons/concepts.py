"""From a concept to its neurons, with a specificity that hub neurons cannot win.

A hub is a weight vector that is close to many words at once (names, capitalised words), so it
wins plain rankings for many concepts. Each vector's closeness to a concept is therefore set
against its closeness to its nearest other words (the local density that CSLS corrects by, Conneau
et al. 2018, arXiv 1710.04087):

    specificity(w) = max_t cos(w, u_t) - mean of the k largest cos(w, u_r),  r in reference words

A vector that is as close to k other words as to the concept has specificity 0 at most, however
close that is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from llm_anatomy.config.neurons import Matrix
from llm_anatomy.neurons.tokens import Vocabulary


@dataclass(frozen=True)
class Block:
    """The vectors of one matrix of one layer."""

    layer: int
    matrix: Matrix
    vectors: Float[Tensor, "neurons d_model"]


def reference_words(
    vocabulary: Vocabulary, exclude: Iterable[int], count: int, seed: int
) -> list[int]:
    """A seeded sample of tokens that begin a word and stand for no concept."""
    excluded = set(exclude)
    words = [token for token in vocabulary.word_tokens() if token not in excluded]
    if not words:
        # A vocabulary without words (bytes, characters): any token serves.
        words = [t for t, text in enumerate(vocabulary.texts) if text and t not in excluded]
    chosen = np.random.default_rng(seed).permutation(len(words))[:count]
    return sorted(words[index] for index in chosen)


def hubness(
    vectors: Float[Tensor, "neurons d_model"],
    reference: Float[Tensor, "words d_model"],
    neighbours: int,
) -> tuple[Float[Tensor, " neurons"], Float[Tensor, " neurons"]]:
    """Mean of the k largest cosines with reference words, for w and for -w.

    Args:
        vectors: Unit vectors.
        reference: Unit head rows of the reference words.
        neighbours: k.
    """
    cosines = vectors @ reference.T
    k = min(neighbours, len(reference))
    positive = cosines.topk(k, dim=1, sorted=False).values.mean(1)
    negative = -cosines.topk(k, dim=1, largest=False, sorted=False).values.mean(1)
    return positive, negative


def rank_neurons(
    blocks: Iterable[Block],
    head: Float[Tensor, "vocab d_model"],
    concepts: Sequence[Sequence[int]],
    reference: Sequence[int],
    neighbours: int,
    kept: int,
) -> list[list[dict[str, Any]]]:
    """The most specific neurons of every concept.

    Args:
        blocks: The vectors to search, as decoded.
        head: The LM head, float32.
        concepts: Token ids of every concept.
        reference: Token ids of the reference words.
        neighbours: k of the hubness.
        kept: Neurons to keep per concept.

    Returns:
        Per concept, rows of `neurons/concepts` without its names and without what needs the
        neuron's whole distribution, most specific first; ties by layer, neuron, matrix, sign.
    """
    reference_rows = normalize(head[list(reference)], dim=1)
    rows: list[list[dict[str, Any]]] = [[] for _ in concepts]
    concept_rows = [normalize(head[list(ids)], dim=1) for ids in concepts]
    for block in blocks:
        unit = normalize(block.vectors, dim=1)
        hubs = hubness(unit, reference_rows, neighbours)
        for concept, (ids, tokens) in enumerate(zip(concepts, concept_rows, strict=True)):
            cosines = unit @ tokens.T
            for sign, hub in zip((1, -1), hubs, strict=True):
                best, which = (sign * cosines).max(1)
                specificity = best - hub
                top = specificity.topk(min(kept, len(best))).indices
                rows[concept] += [
                    {
                        "layer": block.layer,
                        "neuron": int(n),
                        "matrix": block.matrix,
                        "sign": sign,
                        "specificity": float(specificity[n]),
                        "cosine": float(best[n]),
                        "hubness": float(hub[n]),
                        "token_id": ids[int(which[n])],
                    }
                    for n in top.tolist()
                ]
    order = ("layer", "neuron", "matrix", "sign")
    return [
        sorted(found, key=lambda row: (-row["specificity"], *(row[key] for key in order)))[:kept]
        for found in rows
    ]


def place_tokens(
    head: Float[Tensor, "vocab d_model"],
    vectors: Float[Tensor, "places d_model"],
    signs: Sequence[int],
    tokens: Sequence[int],
) -> list[dict[str, Any]]:
    """Where one token stands in each vector's whole distribution over the vocabulary, float64.

    Args:
        head: The LM head.
        vectors: As decoded.
        signs: Which pole of each vector.
        tokens: The token of each vector.
    """
    # One multiply for all: the head is widened once.
    every = head.double() @ vectors.double().T
    placed = []
    for logits, sign, token in zip(every.T.contiguous(), signs, tokens, strict=True):
        signed = sign * logits
        placed.append(
            {
                "logit": float(logits[token]),
                "probability": float((signed[token] - signed.logsumexp(0)).exp()),
                "z_score": float((signed[token] - signed.mean()) / signed.std(correction=0)),
                "token_rank": int((signed > signed[token]).sum()) + 1,
            }
        )
    return placed
