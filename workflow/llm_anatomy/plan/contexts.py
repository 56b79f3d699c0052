"""What the jobs do that find what makes neurons fire; see `work.py`."""

from llm_anatomy.plan.job import Job
from llm_anatomy.plan.needs import MB, Work

# Of a neuron: the histogram of its activations, and of a context its key, position and what is
# written of it beside its window, of which every token takes two numbers.
HISTOGRAM_BYTES = 400 * 4
CONTEXT_BYTES = 60
TOKEN_BYTES = 8
# Of a prompt and of the text that measures fluency; of an example in the configuration at most.
STEERED_TOKENS = 70


def find_contexts(job: Job) -> Work:
    """One pass over a part of the texts, whose activations are reduced at once."""
    shape, contexts = job.model, job.configuration.neurons.contexts
    neurons = shape.n_layers * shape.n_neurons
    table = _contexts_mb(job)
    return Work(
        "model",
        loads_model=True,
        body_tokens=contexts.tokens / contexts.shards,
        batch_tokens=job.batch_tokens,
        held_mb=neurons * HISTOGRAM_BYTES / MB + 2 * table,
        output_mb=table,
    )


def join_contexts(job: Job) -> Work:
    """Tables of all parts, layer by layer."""
    contexts = job.configuration.neurons.contexts
    held = _contexts_mb(job) * (1 + contexts.shards / job.model.n_layers)
    return Work("tables", held_mb=held, minutes=0.05 + _contexts_mb(job) * contexts.shards / 5000)


def compare_contexts(job: Job) -> Work:
    """Words and contexts, layer by layer; what a resample of all neurons takes."""
    shape, contexts = job.model, job.configuration.neurons.contexts
    neurons = shape.n_layers * shape.n_neurons
    cells = 2 * 2 * 2 * shape.n_matrices
    held = _contexts_mb(job) / shape.n_layers + neurons * cells * 8 * 8 / MB
    return Work("tables", held_mb=100 + held, minutes=neurons * contexts.shuffles / 5e6)


def find_neighbours(job: Job) -> Work:
    """Products of all pairs of a layer, or of the model; a pair is a product with a vector."""
    shape, neighbours = job.model, job.configuration.neurons.neighbours
    neurons = shape.n_layers * shape.n_neurons
    others = neurons if neighbours.scope == "model" else shape.n_neurons
    features = shape.n_matrices * shape.d_model + neighbours.tokens
    # In vectors through the head, whose products have the same form.
    vectors = neurons * others * features / (shape.vocab_size * shape.d_model)
    rows = neurons * (shape.n_matrices + 1) * neighbours.count
    return Work(
        "model",
        loads_model=True,
        body_tokens=neighbours.tokens,
        head_vectors=vectors,
        batch_tokens=job.batch_tokens,
        held_mb=(4 * neurons * neighbours.tokens + 100 * rows) / MB,
        output_mb=rows * 16 / MB,
    )


def steer_directions(job: Job) -> Work:
    """Texts of the classes up to a layer, then every dose of five interventions on two texts."""
    directions, shape = job.configuration.neurons.directions, job.model
    read = 0.0
    for target in directions.targets_among([data.name for data in job.configuration.datasets]):
        classes = len(target.positive) + len(target.negative)
        rows = job.count_rows(target.dataset) if target.dataset else classes
        tokens = job.count_tokens(target.dataset) if target.dataset else STEERED_TOKENS
        layers = 0.5 if target.layer is None else target.layer / shape.n_layers
        texts = min(rows, 2 * directions.max_texts)
        read += layers * texts * min(tokens, directions.max_length)
    doses = 3 * (len(directions.doses) + 1) + 2 * len(directions.values)
    swept = doses * STEERED_TOKENS
    logits = max(len(directions.doses), len(directions.values)) * STEERED_TOKENS * shape.vocab_size
    return Work(
        "model",
        loads_model=True,
        body_tokens=read + len(directions.targets) * swept,
        head_vectors=len(directions.targets) * swept,
        batch_tokens=job.batch_tokens,
        held_mb=2 * 4 * logits / MB,
        output_mb=1,
    )


def _contexts_mb(job: Job) -> float:
    """Memory of the contexts of a model."""
    shape, contexts = job.model, job.configuration.neurons.contexts
    window = TOKEN_BYTES * (contexts.before + 1 + contexts.after)
    rows = shape.n_layers * shape.n_neurons * 2 * contexts.count
    return rows * (CONTEXT_BYTES + window) / MB
