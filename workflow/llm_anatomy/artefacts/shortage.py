"""Errors that say the machine or the card is too small, and not that anything is damaged."""

import errno
from typing import Literal

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
