"""What the jobs do that ask where facts live; see `work.py`."""

import math
from dataclasses import replace

from llm_anatomy.plan.job import Job
from llm_anatomy.plan.needs import MB, Work
from llm_anatomy.plan.passes import FLOAT32, PROMPT_TOKENS, forward

# What a fact takes on any machine and model.
FACT_MINUTES = 0.4 / 60
# Rows of a fact in a curve: ten shares kept and removed, the whole and the empty model.
CURVE_ROWS = 20
# Exact evaluations per neuron kept, under the certified search.
EXACT_PER_NEURON = 2


def facts_of(job: Job) -> float:
    """Facts of the job's relation; of all relations where it takes them together."""
    one = job.wildcards.get("relation")
    return sum(
        min(job.count_rows(asked.relation), asked.max_facts or math.inf)
        for asked in job.configuration.facts.relations
        if one in (None, asked.relation)
    )


def attribute(job: Job) -> Work:
    """Subvalues of every neuron, and exact evaluations of some."""
    shape, attribution = job.model, job.configuration.facts.attribution
    # Found by their bound, the best neurons need a few exact evaluations each; else all do.
    exact = EXACT_PER_NEURON * (attribution.neurons + attribution.attention_neurons)
    every = shape.n_layers * shape.n_neurons
    vectors = exact if attribution.search == "certified" else every
    facts = facts_of(job)
    evaluated = facts * (vectors + attribution.curve_points) + attribution.sums * every
    subvalues = every * shape.d_model * FLOAT32 / MB
    return replace(
        forward(job, facts * PROMPT_TOKENS * 2, evaluated),
        held_mb=subvalues,
        output_mb=20,
        minutes=facts * FACT_MINUTES,
    )


def query(job: Job) -> Work:
    """One pass over the facts; subkeys of every neuron."""
    shape = job.model
    subkeys = shape.n_layers * shape.n_neurons * shape.d_model * FLOAT32 / MB
    work = forward(job, facts_of(job) * PROMPT_TOKENS, 0)
    return replace(work, held_mb=subkeys, output_mb=20)


def read_case(job: Job) -> Work:
    """One fact with everything that is found of it."""
    shape = job.model
    subvalues = shape.n_layers * shape.n_neurons * shape.d_model * FLOAT32 / MB
    return replace(forward(job, PROMPT_TOKENS, 1000), held_mb=subvalues)


def knock_out(job: Job) -> Work:
    """Every fact with its best units of every method taken out."""
    runs = facts_of(job) * (len(job.configuration.facts.knock_out.methods) + 8)
    return forward(job, runs * PROMPT_TOKENS, runs)


def units(job: Job) -> Work:
    """Scores, curves and exchanged units."""
    settings, shape = job.configuration.facts.units, job.model
    facts = min(facts_of(job), settings.max_facts or math.inf)
    kinds, methods = len(settings.kinds), len(settings.methods)
    passes = facts / 2 * kinds * ((methods + 1) * CURVE_ROWS + methods * 4)
    if "integrated_gradients" in settings.methods:
        passes += facts / 2 * kinds * 3 * settings.steps * shape.n_layers
    # As many of every layer, rounded up.
    sample = shape.n_layers * math.ceil(settings.exact_sample / shape.n_layers)
    exchanged = settings.exact_facts * kinds * (methods * settings.exact_top + sample)
    orders = kinds * methods * facts * shape.n_layers * shape.n_neurons
    # From a unit's layer on: half of the blocks on average.
    work = forward(job, (passes + exchanged / 2) * PROMPT_TOKENS, passes + exchanged)
    return replace(work, held_mb=8 * orders / MB, output_mb=1)


def grids(job: Job) -> Work:
    """Every layer restored at every position: half of the blocks of each run on average."""
    grids, facts = job.configuration.facts.grids, facts_of(job)
    runs = min(facts, grids.max_facts or math.inf) * (grids.samples + 1)
    rows = runs * len(grids.restored) * job.model.n_layers * PROMPT_TOKENS
    return replace(forward(job, rows * PROMPT_TOKENS / 2, rows), output_mb=1)
