"""Independent pieces of work on all threads of a job, one thread each."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_on_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results in the order of the items, whatever the number of threads.

    A thread computes an item alone: nothing waits at the end of every small operation, and the
    bytes do not depend on how many threads there are.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [function(item) for item in items]
    try:
        # Torch counts threads for every Python thread apart, but new ones start from the last
        # number set anywhere: hence the second line.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)
