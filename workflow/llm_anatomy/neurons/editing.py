"""Reverse the weight vectors closest to a concept (Davies et al. 2024, arXiv 2412.10257).

The concept's direction t is the mean of the unit head rows of its tokens. The weight vectors with
the highest cosine with t are replaced by -|w| t: what read or wrote the concept now does the
opposite. The paper refines t from the model's own hidden states; the head's rows are used here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from llm_anatomy.config.neurons import Matrix
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.parts.projection import Projection


@dataclass(frozen=True)
class Place:
    """One weight vector and its cosine with the concept's direction."""

    matrix: Matrix
    layer: int
    neuron: int
    cosine: float

    def __str__(self) -> str:
        return f"{self.matrix}:{self.layer}:{self.neuron}"


def concept_direction(
    head: Float[Tensor, "vocab d_model"], tokens: Sequence[int]
) -> Float[Tensor, " d_model"]:
    """Unit mean of the unit head rows of a concept's tokens."""
    return normalize(normalize(head[list(tokens)].float(), dim=1).mean(0), dim=0)


def closest(
    decoder: Decoder, direction: Float[Tensor, " d_model"], matrices: Sequence[Matrix], count: int
) -> list[Place]:
    """The weight vectors with the highest cosine with a direction, highest first."""
    found: list[Place] = []
    for block in decoder.blocks:
        for matrix in matrices:
            projection = _projection(block, matrix)
            if projection is None:
                continue
            weight = projection.weight()
            vectors = weight.T if matrix == "down" else weight
            cosines = normalize(vectors, dim=1) @ direction.to(vectors.device)
            best = cosines.topk(min(count, len(cosines)))
            for neuron, cosine in zip(best.indices.tolist(), best.values.tolist(), strict=True):
                found.append(Place(matrix, block.index, neuron, cosine))
    return sorted(found, key=lambda place: -place.cosine)[:count]


@contextmanager
def reversed_rows(
    decoder: Decoder, places: Sequence[Place], direction: Float[Tensor, " d_model"]
) -> Iterator[None]:
    """The model with these weight vectors replaced by -|w| t; put back on leaving.

    Raises:
        UserError: The weights are quantised.
    """
    saved: list[tuple[Tensor, Tensor]] = []
    try:
        for place in places:
            view = _vector(decoder, place)
            saved.append((view, view.clone()))
            view.copy_(-view.float().norm() * direction.to(view.device))
        yield
    finally:
        for view, before in reversed(saved):
            view.copy_(before)


def _vector(decoder: Decoder, place: Place) -> Tensor:
    """A writable view of one weight vector."""
    projection = _projection(decoder.blocks[place.layer], place.matrix)
    assert projection is not None
    weight = projection.module.weight
    assert isinstance(weight, Tensor)
    if not weight.is_floating_point():
        raise UserError(
            "edit_neurons cannot change quantised weights; set precision.quantisation to none"
        )
    stored = weight.detach()
    matrix = stored.T if projection.transposed else stored
    if place.matrix == "down":
        return matrix[:, place.neuron]
    neuron = place.neuron if projection.rows is None else int(projection.rows[place.neuron])
    return matrix[neuron]


def _projection(block: Block, matrix: Matrix) -> Projection | None:
    return {"up": block.up, "gate": block.gate, "down": block.down}[matrix]


def median_kl(before: Float[Tensor, "tokens vocab"], after: Float[Tensor, "tokens vocab"]) -> float:
    """Median over tokens of KL(before || after), nats."""
    before, after = before.double(), after.double()
    return float(
        (before.exp() * (before - after)).sum(-1).clamp_min(0).quantile(torch.tensor(0.5).double())
    )
