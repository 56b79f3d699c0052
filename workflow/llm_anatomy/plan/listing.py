"""What a run will need, job by job, as text. Nothing is run and no weight is loaded."""

import math
from collections.abc import Sequence
from pathlib import Path

from llm_anatomy.config.read import read_configuration
from llm_anatomy.config.root import Configuration
from llm_anatomy.errors import UserError
from llm_anatomy.neurons.fitting import check_some_fit, fitting_sentence, layers_that_fit
from llm_anatomy.plan.jobs import PlannedJob, list_jobs, shape_of
from llm_anatomy.plan.needs import Need
from llm_anatomy.plan.resources import need_of
from llm_anatomy.plan.shape import Shape, trained_sizes

HEADER = ("rule", "wildcards", "memory", "card", "operations", "output", "time")
UNKNOWN = "known once the model is prepared"


def plan_of(files: Sequence[Path], targets: Sequence[str] = ()) -> str:
    """The plan of a configuration, or of some of its targets.

    Args:
        files: The configuration files; later ones win.
        targets: Rules or files; everything when left out.

    Raises:
        UserError: The configuration or a target is wrong, or a model is out of reach.
    """
    configuration = read_configuration(files)
    asked = [*targets, "--configfile", *map(str, files)]
    jobs, left = list_jobs(asked), list_jobs(asked, done_too=False)
    shapes = {source.name: shape_of(source) for source in configuration.models}
    known = {name: shape for name, shape in shapes.items() if shape is not None}
    return plan_text(jobs, configuration, known, left)


def plan_text(
    jobs: Sequence[PlannedJob],
    configuration: Configuration,
    shapes: dict[str, Shape],
    left: Sequence[PlannedJob],
) -> str:
    """The plan as aligned columns, the unknown and the largest first, and totals below.

    Args:
        jobs: Every job.
        configuration: The configuration of the run.
        shapes: Shapes by model.
        left: The jobs whose results are not there yet.
    """
    needs = [(job, need_of(job.rule, job.wildcards, configuration, shapes)) for job in jobs]
    needs.sort(key=lambda pair: (-(pair[1].memory_mb if pair[1] else math.inf), pair[0].rule))
    rows = [HEADER, *(_row(job, need) for job, need in needs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    totals = _totals([need for _, need in needs], len(jobs))
    totals += _tuning(jobs, configuration, shapes)
    if len(left) < len(jobs):
        minutes = sum(need.minutes for job, need in needs if need is not None and job in left)
        totals.append(
            f"{len(jobs) - len(left)} jobs are done. {len(left)} are left, about "
            f"{_minutes(minutes)} one after the other."
        )
    return "\n".join([*lines, "", *totals]) + "\n"


def _row(job: PlannedJob, need: Need | None) -> tuple[str, ...]:
    wildcards = " ".join(job.wildcards.values())
    if need is None:
        return (job.rule, wildcards, UNKNOWN, "", "", "", "")
    return (
        job.rule,
        wildcards,
        _size(need.memory_mb),
        _size(need.card_mb) if need.card_mb else "–",
        f"{need.flops:.1e} FLOP" if need.flops else "–",
        _size(need.output_mb),
        need.time_class,
    )


def _totals(needs: Sequence[Need | None], n_jobs: int) -> list[str]:
    known = [need for need in needs if need is not None]
    unknown = len(needs) - len(known)
    lines = [
        f"{n_jobs} jobs. Largest memory {_size(max((n.memory_mb for n in known), default=0))}, "
        f"{sum(n.flops for n in known):.1e} FLOP, "
        f"{_size(sum(n.output_mb for n in known))} of results, "
        f"about {_minutes(sum(n.minutes for n in known))} one after the other."
    ]
    if unknown:
        lines.append(
            f"{unknown} jobs wait for a model's configuration: make it with "
            "llm-anatomy run results/models/NAME/provenance.json and plan again."
        )
    return lines


def _tuning(
    jobs: Sequence[PlannedJob], configuration: Configuration, shapes: dict[str, Shape]
) -> list[str]:
    """What is said of a fine-tune that does not fit the memory as a whole."""
    tuned = configuration.neurons.tuned(configuration.model_names, configuration.dataset_names)
    planned = tuned is not None and any(job.rule == "fine_tune" for job in jobs)
    if tuned is None or not planned or tuned.base not in shapes:
        return []
    # Imported late: a mistake in the configuration is told without waiting for torch.
    from llm_anatomy.model.source.memory import device_memory

    memory, where = device_memory(configuration.compute)
    if memory is None:
        return []
    sizes, settings = trained_sizes(shapes[tuned.base]), configuration.neurons.fine_tune
    count = layers_that_fit(sizes, settings, memory)
    try:
        check_some_fit(count, tuned.base, memory, where)
    except UserError as error:
        return [f"fine_tune will fail: {error}."]
    sentence = fitting_sentence(count, sizes.n_layers, tuned.base)
    return [sentence] if sentence else []


def _minutes(minutes: float) -> str:
    return f"{max(1, round(minutes))} minutes"


def _size(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{max(megabytes, 1):.0f} MB"
