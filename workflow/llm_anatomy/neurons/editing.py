"""Reverse the weight vectors closest to a concept (Davies et al. 2024, arXiv 2412.10257).

The concept's direction t is the mean of the unit head rows of its tokens. The weight vectors with
the highest cosine with t are replaced by -|w| t: what read or wrote the concept now does the
opposite. The paper refines t from the model's own hidden states; the head's rows are used here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from llm_anatomy.config.neurons import Edit, Matrix
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.parts.projection import Projection
from llm_anatomy.model.run.logprobs import Divergence, log_normaliser
from llm_anatomy.model.run.prompts import raw_ids
from llm_anatomy.neurons.clamping import kl_from
from llm_anatomy.neurons.concepts import ConceptIndex
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.progress import Progress
from llm_anatomy.tables.neurons import EDITS


@dataclass(frozen=True)
class WeightVector:
    """One weight vector and its cosine with the concept's direction."""

    matrix: Matrix
    layer: int
    neuron: int
    cosine: float

    def __str__(self) -> str:
        return f"{self.matrix}:{self.layer}:{self.neuron}"


def edit_concepts(
    decoder: Decoder, tokenizer: Any, index: ConceptIndex, settings: Edit, held_text: str
) -> pd.DataFrame:
    """A concept's probability before and after the weight vectors closest to it are reversed.

    Args:
        decoder: The model; its weights change for every edit and are put back.
        tokenizer: Its tokenizer.
        index: The concepts.
        settings: Concepts, numbers of vectors, and prompts.
        held_text: Text on which the edit's side effects are measured.

    Returns:
        The table `neurons/edits`.

    Raises:
        UserError: The weights are quantised.
    """
    prompts = {prompt: raw_ids(tokenizer, prompt) for prompt in settings.prompts}
    held = raw_ids(tokenizer, held_text)
    # Weights change between runs, so no state of an earlier run may be reused.
    runner = PromptRunner(decoder, restart=False)
    before = {prompt: runner.next_logprobs(ids)[0] for prompt, ids in prompts.items()}
    held_before = runner.all_logits(held)
    rows: list[dict[str, Any]] = []

    def measure(concept: str, tokens: list[int], vectors: list[WeightVector]) -> None:
        held_kl = median_kl(held_before, runner.all_logits(held))
        for prompt, ids in prompts.items():
            after = runner.next_logprobs(ids)
            rows.append(
                {
                    "concept": concept,
                    "rows": len(vectors),
                    "prompt": prompt,
                    "probability": float(after[0, tokens].exp().sum()),
                    "kl": float(kl_from(before[prompt], after)[0]),
                    "held_kl": held_kl,
                    "smallest_cosine": vectors[-1].cosine if vectors else None,
                    "edited": [str(vector) for vector in vectors],
                }
            )

    steps = len(settings.concepts) * len(settings.rows)
    with Progress(steps, "edits", "edit_concepts") as progress:
        for name in settings.concepts:
            tokens = index.tokens(name)
            direction = concept_direction(decoder.head.weight(), tokens)
            nearest = closest(decoder, direction, settings.matrices, max(settings.rows))
            measure(name, tokens, [])
            for count in settings.rows:
                with reversed_rows(decoder, nearest[:count], direction):
                    measure(name, tokens, nearest[:count])
                progress.advance()
    return EDITS.frame(rows)


def concept_direction(
    head: Float[Tensor, "vocab d_model"], tokens: Sequence[int]
) -> Float[Tensor, " d_model"]:
    """Unit mean of the unit head rows of a concept's tokens."""
    return normalize(normalize(head[list(tokens)].float(), dim=1).mean(0), dim=0)


def closest(
    decoder: Decoder, direction: Float[Tensor, " d_model"], matrices: Sequence[Matrix], count: int
) -> list[WeightVector]:
    """The weight vectors with the highest cosine with a direction, highest first."""
    nearest: list[WeightVector] = []
    for block in decoder.blocks:
        for matrix in matrices:
            projection = _projection(block, matrix)
            if projection is None:
                continue
            weight = projection.weight()
            rows = weight.T if matrix == "down" else weight
            cosines = normalize(rows, dim=1) @ direction.to(rows.device)
            best = cosines.topk(min(count, len(cosines)))
            for neuron, cosine in zip(best.indices.tolist(), best.values.tolist(), strict=True):
                nearest.append(WeightVector(matrix, block.index, neuron, cosine))
    return sorted(nearest, key=lambda vector: -vector.cosine)[:count]


@contextmanager
def reversed_rows(
    decoder: Decoder, vectors: Sequence[WeightVector], direction: Float[Tensor, " d_model"]
) -> Iterator[None]:
    """The model with these weight vectors replaced by -|w| t; put back on leaving.

    Raises:
        UserError: The weights are quantised.
    """
    saved: list[tuple[Tensor, Tensor]] = []
    try:
        for vector in vectors:
            view = _stored(decoder, vector)
            saved.append((view, view.clone()))
            view.copy_(-view.float().norm() * direction.to(view.device))
        yield
    finally:
        for view, before in reversed(saved):
            view.copy_(before)


def _stored(decoder: Decoder, vector: WeightVector) -> Tensor:
    """A writable view of one weight vector."""
    projection = _projection(decoder.blocks[vector.layer], vector.matrix)
    assert projection is not None
    weight = projection.module.weight
    assert isinstance(weight, Tensor)
    if not weight.is_floating_point():
        raise UserError(
            "neurons.edit cannot change quantised weights; set precision.quantisation to none, or "
            "neurons.edit.concepts to []"
        )
    stored = weight.detach()
    matrix = stored.T if projection.transposed else stored
    if vector.matrix == "down":
        return matrix[:, vector.neuron]
    neuron = vector.neuron if projection.rows is None else int(projection.rows[vector.neuron])
    return matrix[neuron]


def _projection(block: Block, matrix: Matrix) -> Projection | None:
    return {"up": block.up, "gate": block.gate, "down": block.down}[matrix]


def median_kl(before: Float[Tensor, "tokens vocab"], after: Float[Tensor, "tokens vocab"]) -> float:
    """Median over tokens of KL(before || after), nats, from logits."""
    return float(Divergence(before).of(after, log_normaliser(after)).quantile(0.5))
