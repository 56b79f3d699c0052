"""Directions of concepts in the residual stream, as differences of class means.

    r = mean of x over texts with the concept - mean of x over texts without it

x is the residual stream that a block reads (papers/detectors, section 4.1; Arditi et al., arXiv
2406.11717). Means are taken in float64: the classes share a large component, which cancels.
Interventions change the input of that block at all positions (section 4.2, at one layer):

    add           x <- x + c r
    project out   x <- x - (x . r^) r^
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import equal_length_batches
from llm_anatomy.model.run.hooks import PassEnded, hidden_input, hooked, replace_hidden_input
from llm_anatomy.statistics.folds import stratified_splits
from llm_anatomy.statistics.random import Purpose, keyed_generator

# Fewest texts of a class whose halves say whether a direction holds on other texts.
LEAST_OF_CLASS = 4


@dataclass(frozen=True)
class Steer:
    """One change of what a block reads per row of a batch, at all positions.

    Attributes:
        layer: The block.
        added: Vector that is added, per row.
        removed: Unit vector that is projected out of every row first, or None.
    """

    layer: int
    added: Float[Tensor, "rows d_model"]
    removed: Float[Tensor, " d_model"] | None = None

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return len(self.added)

    @contextmanager
    def applied(self, decoder: Decoder) -> Iterator[None]:
        """Run the model with the change in place."""

        def change(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            states = hidden_input(args, kwargs)
            changed = states
            if self.removed is not None:
                unit = self.removed.to(states)
                changed = changed - (changed @ unit)[..., None] * unit
            changed = changed + self.added.to(states)[:, None]
            return replace_hidden_input(args, kwargs, changed)

        with hooked(pre={decoder.blocks[self.layer].module: change}):
            yield


@torch.no_grad()
def block_inputs(
    decoder: Decoder, ids: Sequence[Sequence[int]], layer: int, token: str, batch_tokens: int
) -> Float[Tensor, "texts d_model"]:
    """What a block reads of every text, at its `last` token or as `mean` over its tokens; float64.

    The pass ends at the block.

    Args:
        decoder: The model.
        ids: Tokens of the texts.
        layer: The block.
        token: `last` or `mean`.
        batch_tokens: Most tokens in one forward pass.
    """
    states = torch.zeros(len(ids), decoder.d_model, dtype=torch.float64)
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(hidden_input(args, kwargs).double().cpu())
        raise PassEnded

    for batch in equal_length_batches(ids, batch_tokens, device=decoder.device):
        with hooked(pre={decoder.blocks[layer].module: keep}), suppress(PassEnded):
            decoder.body(input_ids=batch.input_ids, use_cache=False)
        read = seen.pop()
        states[batch.rows] = read[:, -1] if token == "last" else read.mean(1)
    return states


def difference_of_means(
    states: Float[Tensor, "texts d_model"], positive: Bool[np.ndarray, " texts"]
) -> Float[Tensor, " d_model"]:
    """Mean state of the positive texts minus that of the others."""
    chosen = torch.from_numpy(positive)
    return states[chosen].mean(0) - states[~chosen].mean(0)


def held_out_auc(
    states: Float[Tensor, "texts d_model"],
    positive: Bool[np.ndarray, " texts"],
    copies: Int[np.ndarray, " texts"],
    seed: int,
) -> float | None:
    """ROC AUC of the projection on texts that the direction was not made from.

    Either half of the texts makes a direction, which the other half tests; the mean of both. Texts
    of one set stay in one half: of a matched pair that is torn apart either text tells of the
    other's class. None with fewer than four texts of a class, or where a half lacks a class.

    Args:
        states: State of every text.
        positive: Which texts have the concept.
        copies: Number of the set that each text belongs to (`data.duplicates.kept_together`).
        seed: Seed of the halves.
    """
    if min(positive.sum(), (~positive).sum()) < LEAST_OF_CLASS:
        return None
    splits = stratified_splits(positive, copies, 2, seed, Purpose.DIRECTION_HALVES)
    if any(len(np.unique(positive[test])) < 2 for _, test in splits):
        return None
    found = []
    for train, test in splits:
        made = difference_of_means(states[torch.from_numpy(train)], positive[train])
        scores = (states[torch.from_numpy(test)] @ made).numpy()
        found.append(float(roc_auc_score(positive[test], scores)))
    return sum(found) / 2


def random_direction(
    direction: Float[Tensor, " d_model"], seed: int, concept: str
) -> Float[Tensor, " d_model"]:
    """A random direction of the same length."""
    generator = keyed_generator(seed, Purpose.RANDOM_DIRECTIONS, concept)
    drawn = torch.from_numpy(generator.normal(size=len(direction)))
    control: Tensor = drawn * (direction.norm() / drawn.norm())
    return control


def permuted_direction(
    states: Float[Tensor, "texts d_model"],
    positive: Bool[np.ndarray, " texts"],
    seed: int,
    concept: str,
) -> Float[Tensor, " d_model"]:
    """The difference of means after the labels were shuffled, as long as that of the labels."""
    generator = keyed_generator(seed, Purpose.PERMUTED_LABELS, concept)
    made = difference_of_means(states, generator.permutation(positive))
    control: Tensor = made * (difference_of_means(states, positive).norm() / made.norm())
    return control
