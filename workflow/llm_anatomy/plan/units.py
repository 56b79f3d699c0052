"""What the jobs do that score units and trace states; see `work.py`."""

import math

from llm_anatomy.plan.job import Job
from llm_anatomy.plan.needs import MB, Work

# Typical length of a prompt, in tokens.
PROMPT_TOKENS = 10
# Passes over a fact that one faithfulness curve takes.
CURVE_ROWS = 20


def facts_of(job: Job) -> float:
    """Facts of the job's relation; of all relations where it takes them together."""
    one = job.wildcards.get("relation")
    return sum(
        min(job.count_rows(asked.relation), asked.max_facts or math.inf)
        for asked in job.configuration.facts.relations
        if one in (None, asked.relation)
    )


def attribute_units(job: Job) -> Work:
    """Scores, curves and exchanged units."""
    units, shape = job.configuration.facts.units, job.model
    facts = min(facts_of(job), units.max_facts or math.inf)
    kinds, methods = len(units.kinds), len(units.methods)
    passes = facts / 2 * kinds * ((methods + 1) * CURVE_ROWS + methods * 4)
    if "integrated_gradients" in units.methods:
        passes += facts / 2 * kinds * 3 * units.steps * shape.n_layers
    exchanged = units.exact_facts * kinds * (methods * units.exact_top + units.exact_sample)
    orders = kinds * methods * facts * shape.n_layers * shape.n_neurons
    # From a unit's layer on: half of the blocks on average.
    return _forward(job, passes + exchanged / 2, passes + exchanged, 8 * orders / MB)


def trace_states(job: Job) -> Work:
    """Every layer restored at every position: half of the blocks of each run on average."""
    grids = job.configuration.facts.grids
    runs = min(facts_of(job), grids.max_facts or math.inf) * (grids.samples + 1)
    rows = runs * len(grids.restored) * job.model.n_layers * PROMPT_TOKENS
    return _forward(job, rows / 2, rows)


def _forward(job: Job, prompts: float, vectors: float, held_mb: float = 0) -> Work:
    return Work(
        "model",
        loads_model=True,
        body_tokens=prompts * PROMPT_TOKENS,
        head_vectors=vectors,
        batch_tokens=job.batch_tokens,
        held_mb=held_mb,
        output_mb=1,
    )
