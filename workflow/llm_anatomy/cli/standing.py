"""What of a configuration is made, what is stale, and why, in words."""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llm_anatomy.artefacts.records import CODE
from llm_anatomy.config.shipped import pipeline_folder
from llm_anatomy.plan.jobs import TARGETS, PlannedJob, dry_run_text, job_of, parse_jobs

_JOB = re.compile(r"^Job \d+: (\w+: .*)\nReason: (.*)$", re.MULTILINE)
# A text as Python writes it between single quotes: JSON holds double ones.
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'")
# How Snakemake's sentences on a job begin, and what a person is told.
_FOLLOWS = "Input files updated by another job"
_PARAMETERS = "Params have changed"
NOT_MADE = "not made yet"
_REASONS = {
    "Missing output files": f"{NOT_MADE}: {{}}",
    "Incomplete output files": "was interrupted: {}",
    "Updated input files": "changed: {}",
    "Set of input files has changed": "reads other files than before",
    "Code has changed": "the rule's command changed",
    "Software environment definition has changed": "its environment changed",
}
_STARTS = "|".join(map(re.escape, [_FOLLOWS, _PARAMETERS, *_REASONS]))
_LISTED = 3
# Files of rules that belong to no study.
_AROUND = {"prepare": "models and data", "report": "report", "targets": "report"}


@dataclass(frozen=True)
class StaleJob:
    """A job that a run would start.

    Attributes:
        job: The job.
        reasons: Why, in words; empty where it only follows another one.
    """

    job: PlannedJob
    reasons: tuple[str, ...]


def status_text(arguments: Sequence[str]) -> str:
    """What is done, what is not and why: Snakemake is asked what it would do.

    Args:
        arguments: Targets and `--configfile`.

    Raises:
        UserError: The configuration or a target is wrong.
    """
    every = parse_jobs(dry_run_text(["--forceall", *arguments]))
    return described(every, list(stale_jobs(dry_run_text(arguments))))


def stale_jobs(text: str) -> Iterator[StaleJob]:
    """The jobs that a dry run prints, each with its reasons in words."""
    for message, reason in _JOB.findall(text):
        job = job_of(message)
        if job.rule not in TARGETS:
            yield StaleJob(job, tuple(_in_words(reason)))


def described(every: Sequence[PlannedJob], stale: Sequence[StaleJob]) -> str:
    """The counts by study, and every job that does not only follow another one."""
    left = {(item.job.rule, *item.job.wildcards.values()) for item in stale}
    studies = _studies()
    lines = [f"{len(every) - len(stale)} of {len(every)} jobs are done and up to date."]
    for name in dict.fromkeys(studies.values()):
        of_study = [job for job in every if studies.get(job.rule) == name]
        done = [job for job in of_study if (job.rule, *job.wildcards.values()) not in left]
        if of_study:
            lines.append(f"  {name:<16} {len(done)} of {len(of_study)}")
    causes = [item for item in stale if item.reasons]
    # New data are both: missing results, and files that no record knows.
    missing = [item for item in causes if any(r.startswith(NOT_MADE) for r in item.reasons)]
    told = [item for item in causes if item not in missing]
    if missing:
        rules = list(dict.fromkeys(item.job.rule for item in missing))
        lines.append(f"Not made yet, or deleted: {len(missing)} jobs ({_files(', '.join(rules))}).")
    if told:
        lines.append("Stale:")
        lines += [f"  {_label(item.job)}: {'; '.join(item.reasons)}" for item in told]
    follow = len(stale) - len(causes)
    if follow:
        lines.append(f"{follow} further jobs follow from these.")
    if stale:
        lines.append("llm-anatomy run brings all of it up to date.")
    return "\n".join(lines)


def _in_words(reason: str) -> Iterator[str]:
    # A sentence may itself hold "; ", so that it is cut only where another one begins.
    for part in re.split(rf"; (?={_STARTS})", reason):
        known = next((key for key in _REASONS if part.startswith(key)), None)
        if part.startswith(_PARAMETERS):
            yield from _changed_parameters(part)
        elif known is not None:
            yield _REASONS[known].format(_files(part.partition(": ")[2]))
        elif not part.startswith(_FOLLOWS):
            yield part


def _changed_parameters(part: str) -> Iterator[str]:
    """Snakemake lists parameters that only were, then those that only are, as Python's literals."""
    values = [ast.literal_eval(text) for text in _LITERAL.findall(part)]
    modules = sorted({value.split()[1] for value in values if value.startswith(CODE)})
    if modules:
        yield f"code changed: {_files(', '.join(modules))}"
    # The one JSON document of a rule's parameters, before and now.
    settings = [json.loads(value) for value in values if value.startswith("{")]
    keys = sorted(_differing(*settings)) if len(settings) == 2 else []
    if keys:
        yield f"settings changed: {', '.join(keys)}"
    if not modules and not keys:
        yield "its settings changed"


def _differing(old: Any, new: Any, prefix: str = "") -> Iterator[str]:
    """Keys whose values differ, as dotted paths."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        if old != new:
            yield prefix
        return
    for key in sorted({*old, *new}):
        yield from _differing(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)


def _studies() -> dict[str, str]:
    """Every rule's study, by the file that it stands in, in the files' order of work."""
    folder = pipeline_folder() / "rules"
    included = re.findall(r'^include: "rules/(\w+)\.smk"', _snakefile(), re.MULTILINE)
    return {
        rule: _AROUND.get(name, name)
        for name in included
        for rule in re.findall(
            r"^\s*rule (\w+):", (folder / f"{name}.smk").read_text(encoding="utf-8"), re.MULTILINE
        )
    }


def _snakefile() -> str:
    return (pipeline_folder() / "Snakefile").read_text(encoding="utf-8")


def _label(job: PlannedJob) -> str:
    return " ".join([job.rule, *dict.fromkeys(job.wildcards.values())])


def _files(listed: str) -> str:
    names = listed.split(", ")
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
