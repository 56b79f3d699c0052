"""Errors that say the machine or the card is too small, and not that anything is damaged."""

import errno
from typing import Literal

from llm_anatomy.config.base import Compute

Shortage = Literal["card", "memory", "threads"]

# What torch, its libraries, numpy, pyarrow and the system say, in the order of being asked.
_CARD = ("CUDA out of memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
_THREADS = ("start new thread", "Resource temporarily unavailable", "pthread_create")
_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory",
    "bad_alloc",
    "malloc of size",
    "realloc of size",
)


def shortage_of(error: BaseException) -> Shortage | None:
    """What there is too little of, where that is what an error, or one behind it, says."""
    behind: BaseException | None = error
    while behind is not None:
        text, number = str(behind), getattr(behind, "errno", None)
        if any(word in text for word in _CARD):
            return "card"
        if number == errno.EAGAIN or any(word in text for word in _THREADS):
            return "threads"
        if (
            isinstance(behind, MemoryError)
            or number == errno.ENOMEM
            or any(word in text for word in _MEMORY)
        ):
            return "memory"
        behind = behind.__cause__
    return None


def shortage_sentence(error: BaseException, compute: Compute, job: str) -> str:
    """What a job has too little of, and the keys to change; empty for any other error."""
    # What was taken for damaged or unreadable may only not have fitted.
    kind, behind = shortage_of(error), error.__cause__ or error
    reason = " ".join(str(behind).split())[:150] or type(behind).__name__
    budget = "not set" if compute.batch_tokens is None else compute.batch_tokens
    smaller = (
        f"set compute.batch_tokens lower (it is {budget}) or precision.dtype to "
        "bfloat16 where it is float32"
    )
    if kind == "card":
        return (
            f"the card of compute.device '{compute.device}' has too little memory ({reason}); "
            f"{smaller}, use a card with more memory, or let no other program use it meanwhile"
        )
    if kind == "memory":
        return (
            f"this machine, or the part of it that the job may use, has too little memory "
            f"({reason}); {smaller}, run fewer jobs at once (--cores), or on a cluster give the "
            f"job more: --set-resources {job}:mem_mb=64000"
        )
    if kind == "threads":
        return (
            f"the system lets this job start no more threads or processes ({reason}); set "
            f"compute.threads lower (it is {compute.threads}), run fewer jobs at once (--cores), "
            "or raise the limit (ulimit -u, or the cluster's limit of processes)"
        )
    return ""
