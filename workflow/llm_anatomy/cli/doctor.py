"""What works on this machine: packages, processor, memory, card, disk, hub, configuration."""

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from llm_anatomy.config.read import read_configuration
from llm_anatomy.config.root import Configuration
from llm_anatomy.config.shipped import pipeline_folder
from llm_anatomy.errors import UserError
from llm_anatomy.plan.jobs import list_jobs
from llm_anatomy.plan.resources import known_shape, need_of

LEAST_PYTHON = (3, 11)
# A process with torch and transformers and the default model, with room (docs/plan.md).
LEAST_MEMORY_GB = 4.0
LEAST_DISK_GB = 3.0
# What an import finds, what it serves, and how it is had.
OPTIONAL = {
    "datasets": ("data from the Hugging Face hub", "pip install 'llm-anatomy[hub]'"),
    "bitsandbytes": ("8- and 4-bit weights", "pip install 'llm-anatomy[quantised]'"),
    "snakemake_executor_plugin_slurm": ("SLURM", "pip install 'llm-anatomy[slurm]'"),
}
# Whose versions change numbers or the command line.
LOCKED = ("torch", "transformers", "tokenizers", "numpy", "scikit-learn", "pyarrow", "snakemake")

Verdict = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        verdict: Whether it works, is worth knowing, or keeps runs from working.
        what: What was looked at.
        found: What was found and, unless all is well, what to do.
    """

    verdict: Verdict
    what: str
    found: str


def examine(files: Sequence[Path]) -> Iterator[Finding]:
    """Look at everything, the quick things first.

    Args:
        files: The configuration that a run would read.
    """
    yield _python()
    yield from _packages()
    yield from _machine()
    yield from _optional()
    yield _cache()
    try:
        configuration = read_configuration(files)
    except UserError as error:
        yield Finding("fault", "configuration", str(error))
        configuration = None
    yield from _device(configuration)
    if configuration is not None:
        yield from _models(configuration, files)
        yield _largest_job(configuration, files)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return Finding("fault", "Python", f"{version}; 3.11 or later is needed")
    return Finding("ok", "Python", f"{version}, {sys.executable}")


def _packages() -> Iterator[Finding]:
    ours = importlib.metadata.version("llm-anatomy")
    yield Finding("ok", "llm-anatomy", f"{ours}, rules in {pipeline_folder()}")
    lock = (pipeline_folder() / "envs/requirements.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
    for name in LOCKED:
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("fault", name, f"is not installed; pip install {name}=={pinned[name]}")
            continue
        # A build's suffix, such as +cpu, is the same release.
        if there.partition("+")[0] == pinned[name]:
            yield Finding("ok", name, there)
        else:
            yield Finding("note", name, f"{there}; results were tested with {pinned[name]}")


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("ok", "processor", f"{cores} cores")
    memory = _memory_gb()
    if memory < LEAST_MEMORY_GB:
        yield Finding("note", "memory", f"{memory:.1f} GB; a default run needs {LEAST_MEMORY_GB}")
    else:
        yield Finding("ok", "memory", f"{memory:.1f} GB")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if not os.access(Path.cwd(), os.W_OK):
        yield Finding("fault", "disk", f"{Path.cwd()} may not be written; work in another folder")
    elif free < LEAST_DISK_GB:
        yield Finding("note", "disk", f"{free:.1f} GB free in {Path.cwd()}; a run needs a few")
    else:
        yield Finding("ok", "disk", f"{free:.0f} GB free in {Path.cwd()}")


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def _optional() -> Iterator[Finding]:
    for module, (serves, install) in OPTIONAL.items():
        there = find_spec(module) is not None
        yield Finding(
            "ok" if there else "note", serves, "works" if there else f"not installed; {install}"
        )


def _cache() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    folder = Path(HF_HUB_CACHE)
    kept = len(list(folder.glob("models--*"))) if folder.is_dir() else 0
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(nearest, os.W_OK):
        return Finding("note", "hub cache", f"{folder} may not be written; set HF_HOME")
    offline = ", offline (HF_HUB_OFFLINE)" if HF_HUB_OFFLINE else ""
    return Finding("ok", "hub cache", f"{folder}, {kept} models{offline}")


def _device(configuration: Configuration | None) -> Iterator[Finding]:
    import torch

    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    for number, card in enumerate(cards):
        yield Finding("ok", f"cuda:{number}", f"{card.name}, {card.total_memory / 1e9:.0f} GB")
    wanted = configuration.compute.device if configuration else "cpu"
    if wanted != "cpu" and not cards:
        build = torch.version.cuda and f"torch is built for CUDA {torch.version.cuda}"
        why = build or "this torch is built for the CPU alone"
        yield Finding("fault", "device", f"compute.device is {wanted}, and no card is seen: {why}")
    elif not cards:
        yield Finding("ok", "device", "no card; runs use the processor")


def _models(configuration: Configuration, files: Sequence[Path]) -> Iterator[Finding]:
    named = ", ".join(map(str, files))
    yield Finding("ok", "configuration", f"{named}: {', '.join(configuration.picked_studies)}")
    for model in configuration.models:
        shape = known_shape(model.name)
        if shape is None:
            found = f"from the {model.kind}; not prepared yet, llm-anatomy plan says what it needs"
        else:
            found = f"prepared, {shape.parameters / 1e6:.0f} million parameters"
        yield Finding("ok", f"model {model.name}", found)


def _largest_job(configuration: Configuration, files: Sequence[Path]) -> Finding:
    """Whether the run's jobs fit into this machine, as far as its models are known."""
    try:
        jobs = list_jobs(["--configfile", *map(str, files)])
    except UserError as error:
        return Finding("fault", "plan", str(error))
    needs = [(need_of(job.rule, job.wildcards, configuration), job) for job in jobs]
    known = [(need.memory_mb / 1000, job) for need, job in needs if need is not None]
    if not known:
        return Finding("note", "plan", f"{len(jobs)} jobs; llm-anatomy plan says what they need")
    largest, job = max(known, key=lambda pair: pair[0])
    waiting = len(jobs) - len(known)
    more = f"; {waiting} more are known once a model is prepared" if waiting else ""
    found = f"{len(jobs)} jobs, the largest ({job.rule}) with {largest:.1f} GB{more}"
    if largest > _memory_gb():
        return Finding("fault", "plan", f"{found}: this machine has {_memory_gb():.1f} GB")
    return Finding("ok", "plan", found)
