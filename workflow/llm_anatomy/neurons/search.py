"""From a concept to its neurons, with a specificity that hub neurons cannot win.

A hub is a weight vector that is close to many words at once (names, capitalised words), so it
wins plain rankings for many concepts. Each vector's closeness to a concept is therefore set
against its closeness to its nearest other words (the local density that CSLS corrects by, Conneau
et al. 2018, arXiv 1710.04087):

    specificity(w) = max_t cos(w, u_t) - mean of the k largest cos(w, u_r),  r in reference words

A vector that is as close to k other words as to the concept has specificity 0 at most, however
close that is. Fragments of words are among the reference: a vector that writes "ther", "otted" and
"nery" is a hub as well, which no whole word shows.

A cosine says nothing of lengths, and tokens with long rows of the head stand first in a decoded
list. So a neuron has a concept only where a token of it is near the top of that list, too.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from llm_anatomy.config.neurons import ConceptSearch, Matrix, VocabularyMap
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.concepts import concept_tokens, spellings
from llm_anatomy.neurons.weights import ModelWeights, normalise_head, normalise_vectors
from llm_anatomy.progress import track
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.neurons import CONCEPT_TOKENS, CONCEPTS

logger = logging.getLogger(__name__)

# Of how many times as many neurons as are kept the decoded lists are looked at.
CONSIDERED = 4


@dataclass(frozen=True)
class NeuronVectors:
    """The vectors of one matrix of one layer."""

    layer: int
    matrix: Matrix
    vectors: Float[Tensor, "neurons d_model"]


@dataclass(frozen=True)
class ConceptNeurons:
    """What a search for concepts gives.

    Attributes:
        neurons: The table `neurons/concepts`.
        spellings: The table `neurons/concept_tokens`.
        reference_tokens: How many reference words there were.
    """

    neurons: pd.DataFrame
    spellings: pd.DataFrame
    reference_tokens: int


def find_concepts(
    weights: ModelWeights,
    vocabulary: Vocabulary,
    search: ConceptSearch,
    decoding: VocabularyMap,
    seed: int,
    device: str = "cpu",
) -> ConceptNeurons:
    """The most specific neurons of every concept, from the weights alone.

    Args:
        weights: The model's files.
        vocabulary: The model's tokens.
        search: The concepts, and how many neurons to keep of each.
        decoding: The matrices to search, and their normalisation.
        seed: Seed of the reference words.
        device: Where to compute.

    Raises:
        UserError: No word of a concept is a token, or the model's files are damaged.
    """
    mode = decoding.normalisation
    head = normalise_head(weights.head.to(device).float(), mode)
    tokens = [concept_tokens(vocabulary, concept) for concept in search.concepts]
    excluded = [token for own in tokens for token in own]
    reference = reference_words(vocabulary, excluded, search.reference_tokens, seed)
    places = [weights.places(ids) for ids in tokens]
    matrices = weights.present(decoding.matrices)

    def vectors(layer: int, matrix: Matrix) -> Float[Tensor, "neurons d_model"]:
        stored = weights.vectors(layer, matrix).to(device).float()
        return normalise_vectors(stored, weights, layer, matrix, mode)

    def every() -> Iterator[NeuronVectors]:
        pairs = [(layer, matrix) for layer in range(weights.n_layers) for matrix in matrices]
        for layer, matrix in track(iter(pairs), len(pairs), "matrices", "find_concepts"):
            yield NeuronVectors(layer, matrix, vectors(layer, matrix))

    considered = CONSIDERED * search.neurons
    others = weights.places(reference)
    ranked = rank_neurons(every(), head, places, others, search.neighbours, considered)
    rows = []
    for concept, ids, neurons, chosen in zip(
        search.concepts, places, ranked, vectors_of(ranked, vectors), strict=True
    ):
        best = best_ranks(head, chosen, [row["sign"] for row in neurons], ids)
        first = with_the_concept_first(best, search.token_rank)[: search.neurons]
        if best[first[0]] > search.token_rank:
            logger.warning(
                "%s: none of the %d most specific neurons decodes to it within %d tokens",
                concept.name,
                len(neurons),
                search.token_rank,
            )
        signs, nearest = ([neurons[i][key] for i in first] for key in ("sign", "nearest"))
        placed = place_tokens(head, chosen[first], signs, nearest)
        for rank, (index, place) in enumerate(zip(first, placed, strict=True), 1):
            row: dict[str, Any] = {"concept": concept.name, "rank": rank} | neurons[index] | place
            token = int(weights.tokens[int(row.pop("nearest"))])
            text = vocabulary.text(token)
            rows.append(row | {"token_id": token, "token": text, "best_rank": best[index]})
    return ConceptNeurons(CONCEPTS.frame(rows), _spellings(vocabulary, search), len(reference))


def vectors_of(
    ranked: Sequence[Sequence[dict[str, Any]]],
    vectors: Callable[[int, Matrix], Float[Tensor, "neurons d_model"]],
) -> list[Float[Tensor, "places d_model"]]:
    """The vectors of every concept's neurons; a matrix is read once for all of them."""
    places: dict[tuple[int, Matrix], list[tuple[int, int]]] = {}
    for concept, neurons in enumerate(ranked):
        for index, row in enumerate(neurons):
            places.setdefault((row["layer"], row["matrix"]), []).append((concept, index))
    found: list[list[Any]] = [[None] * len(neurons) for neurons in ranked]
    for (layer, matrix), own in places.items():
        whole = vectors(layer, matrix)
        for concept, index in own:
            found[concept][index] = whole[ranked[concept][index]["neuron"]].clone()
    return [torch.stack(chosen) for chosen in found]


def _spellings(vocabulary: Vocabulary, search: ConceptSearch) -> pd.DataFrame:
    """Every spelling that was looked up, and its token."""
    table = CONCEPT_TOKENS.frame(
        {"concept": concept.name, "text": spelling.text, "token_id": spelling.token_id}
        for concept in search.concepts
        for spelling in spellings(vocabulary, concept)
    ).astype({"token_id": "Int32"})
    logger.info("%d spellings, %d of them single tokens", len(table), table["token_id"].count())
    return table


def reference_words(
    vocabulary: Vocabulary, exclude: Iterable[int], count: int, seed: int
) -> list[int]:
    """Seeded samples of words and of fragments of words that stand for no concept.

    Args:
        vocabulary: The model's tokens.
        exclude: Tokens of the concepts.
        count: Most words, and most fragments.
        seed: Seed of both samples.
    """
    excluded = set(exclude)
    words = [token for token in vocabulary.word_tokens() if token not in excluded]
    fragments = [token for token in vocabulary.fragment_tokens() if token not in excluded]
    if not words:
        # A vocabulary without words (bytes, characters): any token serves.
        words = [t for t, text in enumerate(vocabulary.texts) if text and t not in excluded]
        fragments = []
    samples = (
        (words, keyed_generator(seed, Purpose.REFERENCE_WORDS)),
        (fragments, keyed_generator(seed, Purpose.REFERENCE_FRAGMENTS)),
    )
    return sorted(
        tokens[index]
        for tokens, generator in samples
        for index in generator.permutation(len(tokens))[:count]
    )


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
    matrices: Iterable[NeuronVectors],
    head: Float[Tensor, "vocab d_model"],
    concepts: Sequence[Sequence[int]],
    reference: Sequence[int],
    neighbours: int,
    count: int,
) -> list[list[dict[str, Any]]]:
    """The most specific neurons of every concept.

    Args:
        matrices: The vectors to search, as decoded.
        head: The LM head, float32.
        concepts: Rows of the head of every concept.
        reference: Rows of the head of the reference words.
        neighbours: k of the hubness.
        count: Neurons to keep per concept.

    Returns:
        Per concept, rows of `neurons/concepts` without its names and without what needs the
        neuron's whole distribution, and the `nearest` row of the head, most specific first; ties
        by layer, neuron, matrix, sign.
    """
    reference_rows = normalize(head[list(reference)], dim=1)
    rows: list[list[dict[str, Any]]] = [[] for _ in concepts]
    concept_rows = [normalize(head[list(ids)], dim=1) for ids in concepts]
    for own in matrices:
        unit = normalize(own.vectors, dim=1)
        hubs = hubness(unit, reference_rows, neighbours)
        for concept, (ids, tokens) in enumerate(zip(concepts, concept_rows, strict=True)):
            cosines = unit @ tokens.T
            for sign, hub in zip((1, -1), hubs, strict=True):
                best, which = (sign * cosines).max(1)
                specificity = best - hub
                top = specificity.topk(min(count, len(best))).indices
                rows[concept] += [
                    {
                        "layer": own.layer,
                        "neuron": int(n),
                        "matrix": own.matrix,
                        "sign": sign,
                        "specificity": float(specificity[n]),
                        "cosine": float(best[n]),
                        "hubness": float(hub[n]),
                        "nearest": ids[int(which[n])],
                    }
                    for n in top.tolist()
                ]
            rows[concept] = sorted(rows[concept], key=_most_specific)[:count]
    return rows


def _most_specific(row: dict[str, Any]) -> tuple[Any, ...]:
    return (-row["specificity"], *(row[key] for key in ("layer", "neuron", "matrix", "sign")))


def best_ranks(
    head: Float[Tensor, "vocab d_model"],
    vectors: Float[Tensor, "places d_model"],
    signs: Sequence[int],
    tokens: Sequence[int],
) -> list[int]:
    """Where the best placed of some tokens stands in each vector's decoded list; 1 is the top.

    Args:
        head: The LM head.
        vectors: As decoded.
        signs: Which pole of each vector.
        tokens: Rows of the head of one concept.
    """
    logits = (
        head
        @ (vectors * torch.tensor(signs, dtype=vectors.dtype, device=vectors.device)[:, None]).T
    )
    largest = logits[list(tokens)].amax(0)
    ranks: list[int] = ((logits > largest).sum(0) + 1).tolist()
    return ranks


def with_the_concept_first(ranks: Sequence[int], within: int) -> list[int]:
    """Places of neurons, those that have the concept's token within some rank before the others.

    Among either, the order stays.
    """
    return sorted(range(len(ranks)), key=lambda index: ranks[index] > within)


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
        tokens: The row of the head of each vector's token.
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
