"""Where a model runs: CPU threads, one locked CUDA card, or several through a device map.

Snakemake counts GPUs but does not assign them, so a job that asks for `cuda` takes the first card
that no other job of this machine has locked, and keeps the lock until the process ends.
"""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

import torch

from llm_anatomy.config.base import Compute
from llm_anatomy.errors import UserError

# Held open for the life of the process: closing a file releases its lock.
_locks: list[IO[str]] = []


def choose_device(compute: Compute) -> str:
    """Set the CPU threads and return `cpu`, `cuda:N` (locked) or `auto`.

    Raises:
        UserError: A CUDA card is asked for and none is there, or none is free.
    """
    torch.set_num_threads(compute.threads)
    if compute.device == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise UserError(
            f"compute.device is '{compute.device}' but torch {torch.__version__} sees no CUDA "
            "card; set it to 'cpu', or install a CUDA build of torch (see the README)"
        )
    if compute.device == "auto":
        return "auto"
    if compute.device.startswith("cuda:"):
        return compute.device
    for index in range(torch.cuda.device_count()):
        if _lock(index):
            return f"cuda:{index}"
    raise UserError(
        f"all {torch.cuda.device_count()} CUDA cards are locked by other jobs; run with "
        "--resources gpu=N for N cards, or wait"
    )


def _lock(index: int) -> bool:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    card = visible[index] if index < len(visible) and visible[index] else str(index)
    name = f"llm-anatomy-{os.getuid()}-gpu-{card.replace('/', '_')}.lock"
    handle = (Path(tempfile.gettempdir()) / name).open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return False
    _locks.append(handle)
    return True
