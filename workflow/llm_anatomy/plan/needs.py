"""What a job needs, from the model's sizes and the configuration alone.

Cheap to import (neither torch nor transformers), because the Snakefile asks it for every job's
`mem_mb`, `runtime` and `gpu`. A job is described by its work (tokens through the model's body,
vectors through its LM head, bytes held beside the model) and the work is priced in memory,
operations and minutes. The constants are measured on the default model; docs/plan.md compares
estimate and measurement rule by rule.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from llm_anatomy.config.base import BYTES, Compute, Precision
from llm_anatomy.plan.shape import Shape

MB = 1e6
# Resident memory of a process that has imported what its kind of stage imports, in MB.
PROCESS_MB = {"tables": 180.0, "learning": 330.0, "tokens": 480.0, "model": 340.0}
# Buffers that torch's kernels and thread pools hold after the first forward pass, in MB.
KERNELS_MB = 230.0
# Tensors alive at once inside a block, per token: as wide as the stream, and as the MLP.
STREAM_TENSORS = 8
NEURON_TENSORS = 4
# Adam keeps two moments beside weights and gradients.
TRAINING_COPIES = 3.0
# Operations per second that real stages reach: one CPU thread in float32, and one card in bfloat16.
CPU_THREAD_FLOPS = 6.0e10
CARD_FLOPS = 1.0e14
# From the start of a process to its first number.
START_MINUTES = {"tables": 0.04, "learning": 0.07, "tokens": 0.1, "model": 0.13}
# A cluster kills a job at its limits, so they leave room.
MEMORY_ROOM = 1.5
TIME_ROOM = 10.0
LEAST_MINUTES = 30
# On a cluster the job's own Snakemake processes count towards its memory.
LEAST_MEMORY_MB = 2000


class UnknownShapeError(Exception):
    """A need depends on the sizes of a model that is not prepared yet."""


Kind = Literal["tables", "learning", "tokens", "model"]
TimeClass = Literal["seconds", "minutes", "an hour", "hours", "days"]


@dataclass(frozen=True)
class Work:
    """What one job does.

    Attributes:
        kind: Whether it reads tables, trains classifiers on them, tokenises, or runs the model.
        loads_model: Whether all weights are in memory; stages that decode weights read the head
            and one layer at a time.
        body_tokens: Tokens that pass through the model's body, summed over passes.
        head_vectors: Vectors that are multiplied with the LM head.
        batch_tokens: Most tokens in one forward pass.
        trains: Whether gradients and optimiser states are kept.
        held_mb: What is held beside the model, in MB.
        output_mb: What is written, in MB.
        minutes: Time that is not the model's, on one CPU thread.
    """

    kind: Kind
    loads_model: bool = False
    body_tokens: float = 0.0
    head_vectors: float = 0.0
    batch_tokens: int = 0
    trains: bool = False
    held_mb: float = 0.0
    output_mb: float = 1.0
    minutes: float = 0.0


@dataclass(frozen=True)
class Need:
    """What one job needs.

    Attributes:
        memory_mb: Expected peak of resident memory (with a card: of its process on the CPU), in MB.
        card_mb: Expected memory on the card, in MB; 0 on the CPU.
        flops: Floating-point operations of the model's matrix products.
        output_mb: Size of what is written, in MB.
        minutes: Expected wall-clock time.
    """

    memory_mb: float
    card_mb: float
    flops: float
    output_mb: float
    minutes: float
    gpu: int = field(default=0)

    @property
    def time_class(self) -> TimeClass:
        """The expected time as a person would say it."""
        limits: tuple[tuple[float, TimeClass], ...] = (
            (1.5, "seconds"),
            (40.0, "minutes"),
            (100.0, "an hour"),
            (1440.0, "hours"),
        )
        return next((name for limit, name in limits if self.minutes < limit), "days")

    @property
    def mem_mb(self) -> int:
        """Memory to ask a cluster for, with room."""
        return max(LEAST_MEMORY_MB, math.ceil(self.memory_mb * MEMORY_ROOM / 100) * 100)

    @property
    def runtime(self) -> int:
        """Minutes to ask a cluster for, with room."""
        return max(LEAST_MINUTES, math.ceil(self.minutes * TIME_ROOM))


def price(work: Work, shape: Shape | None, precision: Precision, compute: Compute) -> Need:
    """What a piece of work needs.

    Args:
        work: What the job does.
        shape: Sizes of its model; None for work without a model.
        precision: How numbers are computed.
        compute: Where the job runs.

    Raises:
        UnknownShapeError: The work runs a model whose shape is not known.
    """
    if work.kind != "model":
        memory = PROCESS_MB[work.kind] + work.held_mb
        return Need(memory, 0.0, 0.0, work.output_mb, START_MINUTES[work.kind] + work.minutes)
    if shape is None:
        raise UnknownShapeError("the needs of a job that runs a model depend on its shape")
    weights = _weights_mb(work, shape, precision)
    held = weights + _activations_mb(work, shape, precision) + work.held_mb
    flops = 2 * (
        work.body_tokens * shape.body_parameters + work.head_vectors * shape.head_parameters
    )
    on_card = compute.device != "cpu"
    speed = CARD_FLOPS if on_card else CPU_THREAD_FLOPS * compute.threads
    # Backward passes cost twice the forward pass.
    flops *= 3 if work.trains else 1
    process = PROCESS_MB["model"] + (KERNELS_MB if work.loads_model else 0)
    return Need(
        memory_mb=process + (weights if on_card else held),
        card_mb=held if on_card else 0.0,
        flops=flops,
        output_mb=work.output_mb,
        minutes=START_MINUTES["model"] + work.minutes + flops / speed / 60,
        gpu=1 if on_card else 0,
    )


def weight_mb(shape: Shape, precision: Precision) -> float:
    """Memory of a model's weights at a precision, in MB."""
    return shape.parameters * precision.weight_bytes / MB


def _weights_mb(work: Work, shape: Shape, precision: Precision) -> float:
    if work.loads_model:
        weights = weight_mb(shape, precision) * (1 + (TRAINING_COPIES if work.trains else 0))
        # Logits are computed in float32, by a copy of a half-precision model's head.
        half = precision.activation_bytes < BYTES["float32"]
        copied = shape.head_parameters if half else 0
        return weights + copied * BYTES["float32"] / MB
    # Weights are decoded in float32 whatever the model runs in: the head, and one MLP matrix.
    matrix = shape.n_neurons * shape.d_model
    return (shape.head_parameters + matrix) * BYTES["float32"] / MB


def _activations_mb(work: Work, shape: Shape, precision: Precision) -> float:
    per_token = STREAM_TENSORS * shape.d_model + NEURON_TENSORS * shape.n_neurons
    if work.trains:
        # Every layer's activations wait for the backward pass, and so do the logits.
        per_token = per_token * shape.n_layers + 3 * shape.vocab_size
    return work.batch_tokens * per_token * precision.activation_bytes / MB
