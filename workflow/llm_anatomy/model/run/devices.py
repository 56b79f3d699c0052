"""Where a model runs: CPU threads, or one CUDA card.

Snakemake counts GPUs but does not assign them, so a job that asks for `cuda` takes the first card
that no other job of this machine has locked, and keeps the lock until the process ends. Locks go by
the card's own UUID: inside containers and constrained jobs, every job calls its card number 0. A
job to which a scheduler gave one card uses it without a lock, because nobody else chooses it.
"""

import fcntl
import importlib.util
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from llm_anatomy.config.base import CARD_BATCH_TOKENS, CPU_BATCH_TOKENS, Compute
from llm_anatomy.errors import UserError

# Held open for the life of the process: closing a file releases its lock.
_locks: list[IO[str]] = []

# Variables that hold the cards of a SLURM job or step, and those that number a job of SLURM, PBS,
# LSF and Flux, whose cards are in CUDA_VISIBLE_DEVICES.
ALLOCATED = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
SCHEDULED = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")


def choose_device(compute: Compute) -> str:
    """Set the CPU threads and return `cpu` or `cuda:N`, which is locked for `cuda`.

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
    count = torch.cuda.device_count()
    if compute.device != "cuda":
        if int(compute.device.removeprefix("cuda:")) >= count:
            raise UserError(
                f"compute.device is '{compute.device}' but this machine shows cuda:0 to "
                f"cuda:{count - 1}; set it to 'cuda' for any free card"
            )
        return compute.device
    if count == 1 and allocated(os.environ):
        return "cuda:0"
    for index in range(count):
        if _lock(index):
            return f"cuda:{index}"
    raise UserError(
        f"all {count} CUDA cards are locked by other jobs; run with "
        "--resources gpu=N for N cards, or wait"
    )


def batch_budget(compute: Compute, device: str, token_bytes: int) -> int:
    """Most padded tokens in one forward pass: as configured, else what the device takes.

    Args:
        compute: The settings.
        device: As `choose_device` gave it, with the model on it.
        token_bytes: What a token takes while it passes through the model.
    """
    if compute.batch_tokens is not None:
        return compute.batch_tokens
    if device == "cpu":
        return CPU_BATCH_TOKENS
    free, _ = torch.cuda.mem_get_info(device)
    # A quarter: tokens that attend to long texts take more, and another job may share the card.
    return max(1, min(CARD_BATCH_TOKENS, free // 4 // token_bytes))


def kernels_run_on(tensor: Tensor) -> bool:
    """Whether Triton's kernels run where a tensor lies: on a card, with Triton installed."""
    return tensor.is_cuda and importlib.util.find_spec("triton") is not None


def allocated(environment: Mapping[str, str]) -> bool:
    """Whether a scheduler gave this job its cards."""
    if any(environment.get(name) for name in ALLOCATED):
        return True
    scheduled = any(environment.get(name) for name in SCHEDULED)
    return scheduled and bool(environment.get("CUDA_VISIBLE_DEVICES"))


def _lock(index: int) -> bool:
    card = str(torch.cuda.get_device_properties(index).uuid)
    path = Path(tempfile.gettempdir()) / f"llm-anatomy-{os.getuid()}-gpu-{card}.lock"
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return False
    _locks.append(handle)
    return True


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor on a device, without waiting for what the device does before.

    A card reads pinned memory by itself, so the processor goes on at once: it draws the noise of
    the next layer while the card is at work on this one.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
