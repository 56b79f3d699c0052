"""Work that is counted in forward passes; see `work.py`."""

from dataclasses import replace

from llm_anatomy.plan.job import Job
from llm_anatomy.plan.needs import MB, Work

FLOAT32 = 4
# Typical length of a prompt, in tokens.
PROMPT_TOKENS = 10


def forward(job: Job, tokens: float, vectors: float, logits: float = 0) -> Work:
    """Forward passes of a loaded model; `logits` are float32 numbers held at once."""
    return Work(
        "model",
        loads_model=True,
        body_tokens=tokens,
        head_vectors=vectors,
        batch_tokens=job.batch_tokens,
        held_mb=2 * logits * FLOAT32 / MB,
    )


def one_after_the_other(*works: Work) -> Work:
    """Several pieces of work of one job that loads its model once."""
    return replace(
        works[0],
        body_tokens=sum(work.body_tokens for work in works),
        head_vectors=sum(work.head_vectors for work in works),
        held_mb=max(work.held_mb for work in works),
        minutes=sum(work.minutes for work in works),
        output_mb=sum(work.output_mb for work in works),
    )
