"""`mem_mb`, `runtime` and `gpu` of a rule's jobs, for the Snakefile."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from llm_anatomy.config.root import Configuration
from llm_anatomy.plan.needs import Need, price
from llm_anatomy.plan.shape import Shape, prepared_shape
from llm_anatomy.plan.work import ASSUMED_ROWS, Situation, work_of

MODELS = Path("results/models")
DATA = Path("results/data")
# Of a job whose model is not prepared yet; Snakemake asks again when its inputs are there.
UNKNOWN_MEMORY_MB = 8000
UNKNOWN_MINUTES = 120
Resource = Literal["mem_mb", "runtime", "gpu"]


def planned(
    rule: str, resource: Resource, configuration: Configuration
) -> Callable[[Any, int], int]:
    """A resource function of a rule; memory and time grow with every attempt.

    Args:
        rule: Name of the rule.
        resource: `mem_mb`, `runtime` (minutes) or `gpu`.
        configuration: The configuration of the run.
    """

    def amount(wildcards: Any, attempt: int) -> int:
        need = need_of(rule, dict(wildcards.items()), configuration)
        if need is None:
            unknown = {
                "mem_mb": UNKNOWN_MEMORY_MB,
                "runtime": UNKNOWN_MINUTES,
                "gpu": int(configuration.compute.device != "cpu"),
            }
            return unknown[resource] * (1 if resource == "gpu" else attempt)
        value: int = getattr(need, resource)
        return value * (1 if resource == "gpu" else attempt)

    return amount


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
    situation = Situation(wildcards, configuration, shape, rows_of(wildcards, configuration))
    try:
        return price(
            work_of(rule, situation), shape, configuration.precision, configuration.compute
        )
    except LookupError:
        return None


def model_of(wildcards: Mapping[str, str], configuration: Configuration) -> str:
    """The model that a job runs: of a pair the first, without a wildcard the first configured."""
    pair = wildcards.get("pair", "").partition("-vs-")[0]
    return wildcards.get("model") or pair or configuration.models[0].name


def known_shape(name: str) -> Shape | None:
    """The shape of a model once it is prepared."""
    try:
        return prepared_shape(MODELS / name)
    except FileNotFoundError:
        return None


def _planned_shape(name: str, shapes: Mapping[str, Shape]) -> Shape | None:
    """The shape of a configured model, or of one that is tuned from it and has its sizes."""
    base = next((known for known in shapes if name.startswith(f"{known}-")), name)
    return shapes.get(name) or shapes.get(base)


def rows_of(wildcards: Mapping[str, str], configuration: Configuration) -> int:
    """Rows of a job's data set: of its table where it exists, else as many as it may hold."""
    name = (
        wildcards.get("dataset") or wildcards.get("relation") or _relation(wildcards, configuration)
    )
    table = DATA / f"{name}.parquet"
    if table.is_file():
        return int(pq.read_metadata(table).num_rows)
    dataset = next((d for d in configuration.datasets if d.name == name), None)
    return (dataset.max_rows if dataset else None) or ASSUMED_ROWS


def _relation(wildcards: Mapping[str, str], configuration: Configuration) -> str:
    name = wildcards.get("task")
    task = next((task for task in configuration.patching.tasks if task.name == name), None)
    return getattr(task, "relation", None) or ""
