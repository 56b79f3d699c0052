"""What each rule's job does, in tokens, vectors and bytes; one function per rule that runs long."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llm_anatomy.config.root import Configuration
from llm_anatomy.plan.needs import MB, Work
from llm_anatomy.plan.shape import Shape

# What a data set is taken to hold before it has been read.
ASSUMED_ROWS = 1000
ASSUMED_TOKENS = 200
RELATION_TOKENS = 24
# Arrow, pandas and the writer hold copies of a table while it is made.
TABLE_COPIES = 2.5
FLOAT32 = 4


@dataclass(frozen=True)
class Situation:
    """What is known about one job.

    Attributes:
        wildcards: The job's wildcards.
        configuration: The configuration of the run.
        shape: Sizes of its model; None where it has none or none is known.
        rows: Rows of its data set or relation, read from the table where it exists.
    """

    wildcards: Mapping[str, str]
    configuration: Configuration
    shape: Shape | None
    rows: int

    @property
    def model(self) -> Shape:
        """The shape, for work that depends on it.

        Raises:
            LookupError: It is not known before the model has been prepared.
        """
        if self.shape is None:
            raise LookupError("the work of this job depends on the shape of its model")
        return self.shape

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens in one forward pass."""
        return self.configuration.compute.batch_tokens


def work_of(rule: str, situation: Situation) -> Work:
    """The work of a rule's job; light work on tables where the rule is not listed here."""
    describe = WORK.get(rule)
    return Work("tables", held_mb=100, minutes=0.2) if describe is None else describe(situation)


def _tokens(situation: Situation) -> float:
    longest = situation.configuration.geometry.extraction.max_length
    return situation.rows * min(ASSUMED_TOKENS, longest)


def _prepare(situation: Situation) -> Work:
    name = situation.wildcards["model"]
    source = next(m for m in situation.configuration.models if m.name == name)
    if source.kind in ("path", "hub"):
        return Work("model", output_mb=1, minutes=0.5)
    # Dequantised weights, and the copy that is saved, in float32.
    size = situation.model.parameters * FLOAT32 / MB
    return Work("model", held_mb=2 * size, output_mb=size, minutes=1)


def _extract(situation: Situation) -> Work:
    shape, extraction = situation.model, situation.configuration.geometry.extraction
    share = 1 / extraction.shards
    states = extraction.state_layers
    layers = shape.n_layers if states == "all" else len(states)
    stored = FLOAT32 * (
        _tokens(situation) * 2 * shape.n_layers + situation.rows * 2 * layers * shape.d_model
    )
    return Work(
        "model",
        loads_model=True,
        body_tokens=_tokens(situation) * share,
        batch_tokens=situation.batch_tokens,
        held_mb=stored * share * TABLE_COPIES / MB,
        output_mb=stored * share / MB,
    )


def _from_traces(situation: Situation) -> Work:
    stored = FLOAT32 * _tokens(situation) * 2 * situation.model.n_layers
    return Work("tables", held_mb=stored * TABLE_COPIES / MB, minutes=0.2)


def _detect(situation: Situation) -> Work:
    shape = situation.model
    states = FLOAT32 * situation.rows * 2 * shape.n_layers * shape.d_model
    return Work(
        "learning", held_mb=states * TABLE_COPIES / MB, minutes=situation.rows / 500, output_mb=5
    )


def _sweep(situation: Situation) -> Work:
    shape, patching = situation.model, situation.configuration.patching
    task = patching.task(situation.wildcards["task"])
    manipulation = patching.manipulation(situation.wildcards["manipulation"])
    examples = min(situation.rows, task.max_examples or situation.rows)
    seeds = getattr(manipulation, "seeds", 1)
    layers = shape.n_layers if patching.layers is None else len(patching.layers)
    # Variant k of a staircase runs the blocks from k on: half of all blocks on average.
    passes = 1 if manipulation is None else 1 + seeds * layers / 2
    return Work(
        "model",
        loads_model=True,
        body_tokens=examples * RELATION_TOKENS * passes * task.max_new_tokens,
        head_vectors=examples * seeds * layers * task.max_new_tokens,
        batch_tokens=situation.batch_tokens,
        output_mb=examples * seeds * layers * 40 / MB,
    )


def _map(situation: Situation) -> Work:
    shape, settings = situation.model, situation.configuration.neurons.map
    layers = math.ceil(shape.n_layers / settings.parts)
    matrices = min(len(settings.matrices), shape.n_matrices)
    rows = layers * shape.n_neurons * matrices * 2 * settings.top_k
    return Work(
        "model",
        head_vectors=layers * shape.n_neurons * matrices,
        held_mb=rows * MAP_ROW_BYTES / MB + LOGIT_BUFFER_MB,
        output_mb=rows * 14 / MB,
    )


def _model_job(tokens: float, vectors: float) -> Callable[[Situation], Work]:
    """A job that loads the model for work that its configuration hardly changes."""

    def describe(situation: Situation) -> Work:
        return Work(
            "model",
            loads_model=True,
            body_tokens=tokens,
            head_vectors=vectors,
            batch_tokens=situation.batch_tokens,
        )

    return describe


# Bytes per row of the vocabulary map while it is put together, and its buffer of logits.
MAP_ROW_BYTES = 110
LOGIT_BUFFER_MB = 270

WORK: dict[str, Callable[[Situation], Work]] = {
    "prepare_model": _prepare,
    "extract_activations": _extract,
    "spline_features": _from_traces,
    "intrinsic_dimension": _from_traces,
    "detect_toxicity": _detect,
    "sweep_layers": _sweep,
    "map_neurons": _map,
}
