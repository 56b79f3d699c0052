"""What each rule's job does, in tokens, vectors and bytes; one function per rule that runs long."""

import math
from collections.abc import Callable
from dataclasses import replace

from llm_anatomy.plan import contexts
from llm_anatomy.plan.job import Job
from llm_anatomy.plan.needs import MB, Work
from llm_anatomy.plan.sizes import ASSUMED_TOKENS

# Of the passes of a sweep, what is left where layers share work (`patching/fast.py`).
SHARED_SWEEPS = 0.5
# A record of a sweep, from its scores to its row in the table.
RECORD_BYTES = 3000
# Arrow, pandas and the writer hold copies of a table while it is made.
TABLE_COPIES = 2.5
FLOAT32 = 4
# Spline features of a layer.
N_FEATURES = 7


def work_of(rule: str, job: Job) -> Work:
    """The work of a rule's job; light work on tables where the rule is not listed here."""
    describe = WORK.get(rule)
    return Work("tables", held_mb=100, minutes=0.04) if describe is None else describe(job)


def _tokens(job: Job) -> float:
    return job.rows * job.text_tokens


def _prepare(job: Job) -> Work:
    name = job.wildcards["model"]
    source = next(m for m in job.configuration.models if m.name == name)
    if source.kind in ("path", "hub"):
        return Work("model", output_mb=1, minutes=0.3)
    # Dequantised weights, and the copy that is saved, in float32.
    size = job.model.parameters * FLOAT32 / MB
    return Work("model", held_mb=2 * size, output_mb=size, minutes=0.6)


def _extract(job: Job) -> Work:
    shape, extraction = job.model, job.configuration.geometry.extraction
    share = 1 / extraction.shards
    states = extraction.state_layers
    layers = shape.n_layers if states == "all" else len(states)
    stored = FLOAT32 * (_tokens(job) * 2 * shape.n_layers + job.rows * 2 * layers * shape.d_model)
    return Work(
        "model",
        loads_model=True,
        body_tokens=_tokens(job) * share,
        batch_tokens=job.batch_tokens,
        held_mb=stored * share * TABLE_COPIES / MB,
        output_mb=stored * share / MB,
    )


def _from_traces(job: Job) -> Work:
    stored = FLOAT32 * _tokens(job) * 2 * job.model.n_layers
    return Work("tables", held_mb=stored * TABLE_COPIES / MB, minutes=_tokens(job) / 1e6)


def _dimension(job: Job) -> Work:
    every = job.configuration.geometry.extraction.attention_tokens == "all"
    positions = _tokens(job) if every else job.rows
    held = positions * job.model.n_layers * DIMENSION_BYTES / MB
    return Work("tables", held_mb=held, minutes=positions / 1e5)


def _detect(job: Job) -> Work:
    shape = job.model
    states = FLOAT32 * job.rows * 2 * shape.n_layers * shape.d_model
    minutes = LEARNING_MINUTES + job.rows / 4000
    return Work("learning", held_mb=states * TABLE_COPIES / MB, minutes=minutes, output_mb=5)


def _learn(job: Job) -> Work:
    features = 8 * job.rows * job.model.n_layers * N_FEATURES
    minutes = 2 * LEARNING_MINUTES + job.rows / 2000
    return Work("tables", held_mb=100 + features * TABLE_COPIES / MB, minutes=minutes)


def _tokenise(job: Job) -> Work:
    return Work("tokens", minutes=0.02)


def _sweep(job: Job) -> Work:
    shape, patching = job.model, job.configuration.patching
    task = patching.task(job.wildcards["task"])
    manipulations = patching.task_manipulations(task.name)
    examples = min(job.rows, task.max_examples or job.rows)
    draws = sum(getattr(m, "seeds", 1) * len(getattr(m, "degrees", [90])) for m in manipulations)
    layers = shape.n_layers if patching.layers is None else len(patching.layers)
    # Variant k of a staircase runs the blocks from k on: half of all blocks on average.
    passes = 1 + len(manipulations) + draws * layers / 2
    records = examples * (1 + draws * layers)
    return Work(
        "model",
        loads_model=True,
        body_tokens=examples * PROMPT_TOKENS * passes * task.max_new_tokens * SHARED_SWEEPS,
        head_vectors=records * task.max_new_tokens,
        batch_tokens=job.batch_tokens,
        held_mb=records * RECORD_BYTES / MB,
        output_mb=records * 40 / MB,
    )


def _map(job: Job) -> Work:
    shape, settings = job.model, job.configuration.neurons.map
    layers = math.ceil(shape.n_layers / settings.parts)
    matrices = min(len(settings.matrices), shape.n_matrices)
    rows = _map_rows(job, layers)
    return Work(
        "model",
        head_vectors=layers * shape.n_neurons * matrices,
        held_mb=min(rows, MAP_ROWS_HELD) * MAP_ROW_BYTES / MB + LOGIT_BUFFER_MB,
        output_mb=rows * 14 / MB,
    )


def _map_rows(job: Job, layers: int) -> float:
    """Rows of the vocabulary map of so many layers."""
    shape, settings = job.model, job.configuration.neurons.map
    matrices = min(len(settings.matrices), shape.n_matrices)
    return layers * shape.n_neurons * matrices * 2 * settings.top_k


def _map_mb(job: Job) -> float:
    """Memory of a model's whole vocabulary map, once it is read and checked."""
    return _map_rows(job, job.model.n_layers) * READ_ROW_BYTES / MB


def _from_map(job: Job) -> Work:
    return Work("tables", held_mb=_map_mb(job), minutes=0.05)


def _draw_map(job: Job) -> Work:
    return Work("learning", held_mb=_map_mb(job), minutes=0.05)


def _decode_again(job: Job) -> Work:
    shape, neurons = job.model, job.configuration.neurons
    vectors = shape.n_layers * shape.n_neurons * len(neurons.comparison.matrices)
    # The second model's head, beside the one that every decoder holds.
    head = shape.head_parameters * FLOAT32 / MB
    return Work(
        "model",
        # The first model by its own head is in its map.
        head_vectors=len(neurons.comparison.heads) * vectors,
        held_mb=LOGIT_BUFFER_MB + head + _map_mb(job),
    )


def _search(job: Job) -> Work:
    shape, search = job.model, job.configuration.neurons.search
    vectors = shape.n_layers * shape.n_neurons * shape.n_matrices
    # As many fragments as words.
    share = 2 * search.reference_tokens / shape.vocab_size
    return Work("model", head_vectors=vectors * share, held_mb=LOGIT_BUFFER_MB)


def _clamp(job: Job) -> Work:
    shape, clamping = job.model, job.configuration.neurons.clamping
    sweeps = len(clamping.targets) * len(clamping.sites)
    values = len(clamping.values) * len(clamping.operations)
    calibrations = 2 * len(clamping.kl_targets) * CALIBRATION_STEPS
    prompts = sweeps * len(clamping.positions) * (values + calibrations)
    held = sweeps * values * HELD_TOKENS
    swept = _forward(
        job,
        tokens=prompts * PROMPT_TOKENS + held,
        vectors=prompts + held,
        logits=len(clamping.values) * HELD_TOKENS * shape.vocab_size,
    )
    return _one_after_the_other(swept, _favourites(job), _edit(job))


def _favourites(job: Job) -> Work:
    test = job.configuration.neurons.favourite
    answers = len(test.questions) * (1 + test.seeds) * len(test.values) * (1 + test.controls)
    tokens = answers * (test.new_tokens + 3 * PROMPT_TOKENS)
    return _forward(job, tokens, answers * test.new_tokens)


def _validate(job: Job) -> Work:
    validation = job.configuration.neurons.validation
    prompts = job.model.n_layers * validation.neurons_per_layer * 2 * len(validation.prompts)
    clamps = _forward(job, prompts * PROMPT_TOKENS, prompts)
    activation = job.configuration.neurons.activation
    texts = _forward(job, activation.texts * activation.max_tokens, 0)
    return replace(_one_after_the_other(clamps, texts), held_mb=_map_mb(job))


def _edit(job: Job) -> Work:
    edit = job.configuration.neurons.edit
    prompts = len(edit.concepts) * (1 + len(edit.rows)) * len(edit.prompts)
    return _forward(job, prompts * PROMPT_TOKENS, prompts)


def _tune(job: Job) -> Work:
    shape, tuning = job.model, job.configuration.neurons.fine_tune
    per_step = tuning.batch * tuning.max_tokens
    return Work(
        "model",
        loads_model=True,
        body_tokens=tuning.steps * per_step,
        head_vectors=tuning.steps * per_step,
        batch_tokens=per_step,
        trains=True,
        output_mb=shape.parameters * FLOAT32 / MB,
    )


def _forward(job: Job, tokens: float, vectors: float, logits: float = 0) -> Work:
    """Forward passes of a loaded model; `logits` are float32 numbers held at once."""
    return Work(
        "model",
        loads_model=True,
        body_tokens=tokens,
        head_vectors=vectors,
        batch_tokens=job.batch_tokens,
        held_mb=2 * logits * FLOAT32 / MB,
    )


def _one_after_the_other(*works: Work) -> Work:
    """Several pieces of work of one job that loads its model once."""
    return replace(
        works[0],
        body_tokens=sum(work.body_tokens for work in works),
        head_vectors=sum(work.head_vectors for work in works),
        held_mb=max(work.held_mb for work in works),
        minutes=sum(work.minutes for work in works),
        output_mb=sum(work.output_mb for work in works),
    )


def _experiments(job: Job) -> Work:
    """Checks on some texts of every dataset, documents with inserts, and prompts."""
    configuration = job.configuration
    geometry = configuration.geometry
    datasets = sum(d.kind == "texts" and d.study for d in configuration.datasets)
    checked = 4 * datasets * geometry.checks.texts * geometry.checks.max_length
    traced = len(geometry.inserts.texts) * ASSUMED_TOKENS
    prompts = geometry.prompts
    steps = sum(len(category.related) + 1 for category in prompts.categories)
    n_prompts = steps * len(prompts.conditions) * len(prompts.formats)
    answered = n_prompts * (4 * PROMPT_TOKENS + prompts.max_new_tokens)
    return _forward(job, checked + traced + answered, n_prompts * prompts.max_new_tokens)


def _facts(job: Job) -> float:
    """Facts of the job's relation; of all relations where it takes them together."""
    one = job.wildcards.get("relation")
    return sum(
        min(job.count_rows(asked.relation), asked.max_facts or math.inf)
        for asked in job.configuration.facts.relations
        if one in (None, asked.relation)
    )


def _attribute(job: Job) -> Work:
    shape, attribution = job.model, job.configuration.facts.attribution
    # Found by their bound, the best neurons need a few exact evaluations each; else all do.
    exact = EXACT_PER_NEURON * (attribution.neurons + attribution.attention_neurons)
    every = shape.n_layers * shape.n_neurons
    vectors = exact if attribution.search == "certified" else every
    facts = _facts(job)
    evaluated = facts * (vectors + attribution.curve_points) + attribution.sums * every
    subvalues = every * shape.d_model * FLOAT32 / MB
    return replace(
        _forward(job, facts * PROMPT_TOKENS * 2, evaluated),
        held_mb=subvalues,
        output_mb=20,
        minutes=facts * FACT_MINUTES,
    )


def _query(job: Job) -> Work:
    shape = job.model
    subkeys = shape.n_layers * shape.n_neurons * shape.d_model * FLOAT32 / MB
    work = _forward(job, _facts(job) * PROMPT_TOKENS, 0)
    return replace(work, held_mb=subkeys, output_mb=20)


def _read_case(job: Job) -> Work:
    shape = job.model
    subvalues = shape.n_layers * shape.n_neurons * shape.d_model * FLOAT32 / MB
    return replace(_forward(job, PROMPT_TOKENS, 1000), held_mb=subvalues)


def _time(job: Job) -> Work:
    timing = job.configuration.toxicity.early_exit
    depths = len(timing.n_layers) + 1
    longest = job.configuration.geometry.extraction.max_length
    tokens = timing.timed_texts * depths * TIMED_REPEATS * min(ASSUMED_TOKENS, longest)
    return replace(_forward(job, tokens, 0), batch_tokens=longest)


def _knock_out(job: Job) -> Work:
    runs = _facts(job) * (len(job.configuration.facts.knock_out.methods) + 8)
    return _forward(job, runs * PROMPT_TOKENS, runs)


def _units(job: Job) -> Work:
    """Scores, curves and exchanged units."""
    units, shape = job.configuration.facts.units, job.model
    facts = min(_facts(job), units.max_facts or math.inf)
    kinds, methods = len(units.kinds), len(units.methods)
    passes = facts / 2 * kinds * ((methods + 1) * CURVE_ROWS + methods * 4)
    if "integrated_gradients" in units.methods:
        passes += facts / 2 * kinds * 3 * units.steps * shape.n_layers
    exchanged = units.exact_facts * kinds * (methods * units.exact_top + units.exact_sample)
    orders = kinds * methods * facts * shape.n_layers * shape.n_neurons
    # From a unit's layer on: half of the blocks on average.
    work = _forward(job, (passes + exchanged / 2) * PROMPT_TOKENS, passes + exchanged)
    return replace(work, held_mb=8 * orders / MB, output_mb=1)


def _grids(job: Job) -> Work:
    """Every layer restored at every position: half of the blocks of each run on average."""
    grids, facts = job.configuration.facts.grids, _facts(job)
    runs = min(facts, grids.max_facts or math.inf) * (grids.samples + 1)
    rows = runs * len(grids.restored) * job.model.n_layers * PROMPT_TOKENS
    return replace(_forward(job, rows * PROMPT_TOKENS / 2, rows), output_mb=1)


# Rows of the vocabulary map that wait to be written (a row group), bytes of one of them, and of one
# while the whole map is read and checked; and the decoder's buffers.
MAP_ROWS_HELD = 1 << 17
MAP_ROW_BYTES = 110
READ_ROW_BYTES = 200
# Bytes per text and layer of the tables of intrinsic dimension, one row per head and threshold.
DIMENSION_BYTES = 4000
LOGIT_BUFFER_MB = 200
# Typical lengths, in tokens, of a prompt and of the text that measures fluency; bisection steps.
PROMPT_TOKENS = 10
HELD_TOKENS = 60
CALIBRATION_STEPS = 15
TIMED_REPEATS = 1
# Rows of a fact in a curve: ten shares kept and removed, the whole and the empty model.
CURVE_ROWS = 20
# What a classifier's folds take of any data set, and what a fact takes on any machine and model.
LEARNING_MINUTES = 0.2
FACT_MINUTES = 0.4 / 60
# Exact evaluations per neuron kept, under the certified search.
EXACT_PER_NEURON = 2

WORK: dict[str, Callable[[Job], Work]] = {
    "prepare_model": _prepare,
    "extract_activations": _extract,
    "spline_features": _from_traces,
    "intrinsic_dimension": _dimension,
    "detect_toxicity": _detect,
    "probe_features": _learn,
    "build_tasks": _tokenise,
    "sweep_layers": _sweep,
    "check_geometry": _experiments,
    "map_neurons": _map,
    "join_neurons": _from_map,
    "atlas_neurons": _from_map,
    "atlas_contexts": _from_map,
    "atlas_texts": _tokenise,
    "conclude_neurons": _draw_map,
    "find_contexts": contexts.find_contexts,
    "join_contexts": contexts.join_contexts,
    "compare_contexts": contexts.compare_contexts,
    "find_neighbours": contexts.find_neighbours,
    "steer_directions": contexts.steer_directions,
    "find_concepts": _search,
    "clamp_neurons": _clamp,
    "validate_neurons": _validate,
    "fine_tune": _tune,
    "compare_models": _decode_again,
    "attribute_facts": _attribute,
    "trace_queries": _query,
    "knock_out": _knock_out,
    "attribute_units": _units,
    "trace_states": _grids,
    "time_early_exit": _time,
    "read_case": _read_case,
}

# Rules whose stage asks for a card where the configuration names one.
ON_DEVICE = frozenset(
    {
        "attribute_facts",
        "attribute_units",
        "clamp_neurons",
        "compare_models",
        "check_geometry",
        "extract_activations",
        "find_concepts",
        "find_contexts",
        "find_neighbours",
        "fine_tune",
        "knock_out",
        "map_neurons",
        "read_case",
        "score_hub_classifier",
        "steer_directions",
        "sweep_layers",
        "time_early_exit",
        "trace_queries",
        "trace_states",
        "validate_neurons",
    }
)
