"""`mem_mb`, `runtime` and `gpu` of a rule's jobs, for the Snakefile."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from llm_anatomy.config.root import Configuration
from llm_anatomy.plan.job import Job
from llm_anatomy.plan.needs import Need, UnknownShapeError, price
from llm_anatomy.plan.shape import Shape, prepared_shape
from llm_anatomy.plan.sizes import rows_of, tokens_of
from llm_anatomy.plan.work import ON_DEVICE, work_of

MODELS = Path("results/models")
# Of a job whose model is not prepared yet; Snakemake asks again when its inputs are there.
UNKNOWN_MEMORY_MB = 8000
UNKNOWN_MINUTES = 60

Resource = Callable[[Any, int], int] | int


def planned(rule: str, configuration: Configuration) -> dict[str, Resource]:
    """The `resources` of a rule: memory in MB and time in minutes, growing with every attempt.

    A `gpu` is among them only where the rule uses a card and the configuration asks for one.

    Args:
        rule: Name of the rule.
        configuration: The configuration of the run.
    """

    # Plain functions: Snakemake reads the signature of each for every job, and that of a `partial`
    # takes longer than the answer.
    def mem_mb(wildcards: Any, attempt: int) -> int:
        need = need_of(rule, dict(wildcards.items()), configuration)
        return (UNKNOWN_MEMORY_MB if need is None else need.mem_mb) * attempt

    def runtime(wildcards: Any, attempt: int) -> int:
        need = need_of(rule, dict(wildcards.items()), configuration)
        return (UNKNOWN_MINUTES if need is None else need.runtime) * attempt

    resources: dict[str, Resource] = {"mem_mb": mem_mb, "runtime": runtime}
    if rule in ON_DEVICE and configuration.compute.device != "cpu":
        resources["gpu"] = 1
    return resources


def need_of(
    rule: str,
    wildcards: Mapping[str, str],
    configuration: Configuration,
    shapes: Mapping[str, Shape] | None = None,
) -> Need | None:
    """What a job needs; nothing when that depends on a model whose shape is not known yet.

    Args:
        rule: Name of the rule.
        wildcards: The job's wildcards.
        configuration: The configuration of the run.
        shapes: Shapes by model; read from the prepared models when left out.
    """
    name = model_of(wildcards, configuration)
    shape = known_shape(name) if shapes is None else _planned_shape(name, shapes)
    job = Job(
        wildcards,
        configuration,
        shape,
        partial(rows_of, configuration),
        partial(tokens_of, configuration),
    )
    compute = configuration.compute
    if rule not in ON_DEVICE:
        compute = compute.model_copy(update={"device": "cpu"})
    try:
        return price(work_of(rule, job), shape, configuration.precision, compute)
    except UnknownShapeError:
        return None


def model_of(wildcards: Mapping[str, str], configuration: Configuration) -> str:
    """The model that a job runs: of a pair the first, without a wildcard the first configured."""
    pair = wildcards.get("pair", "").partition("-vs-")[0]
    return wildcards.get("model") or pair or configuration.models[0].name


def known_shape(name: str) -> Shape | None:
    """The shape of a model once it is prepared."""
    folder = MODELS / name
    try:
        return _shape(folder, (folder / "provenance.json").stat().st_mtime_ns)
    except Exception:  # absent, or damaged in any way: the stage that reads it says so
        return None


@cache
def _shape(folder: Path, made: int) -> Shape:
    """The shape of a model that was made at a time: read again when it is made again."""
    return prepared_shape(folder)


def _planned_shape(name: str, shapes: Mapping[str, Shape]) -> Shape | None:
    """The shape of a configured model, or of one that is tuned from it and has its sizes."""
    base = next((known for known in shapes if name.startswith(f"{known}-")), name)
    return shapes.get(name) or shapes.get(base)
