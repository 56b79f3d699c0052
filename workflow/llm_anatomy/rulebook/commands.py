"""The command line of every stage, written from its rule's own named inputs and outputs."""

import re
from typing import Any

from llm_anatomy.rulebook.private import (
    all_rules,
    command_of,
    set_command,
    set_environment,
    set_message,
)

_PROGRAM = "python -m llm_anatomy.stages."
_OPTIONS: dict[str, str] = {}


def stage_command(stage: str) -> str:
    """The command of a stage: its rule's `shell`.

    Snakemake asks twice: while it reads the rule, whose inputs and outputs are not known yet, and
    when the job starts, by when `complete_rules` has added the options.
    """
    return f"{_PROGRAM}{stage}{_OPTIONS.get(stage, '')}"


def complete_rules(workflow: Any, environment: str) -> None:
    """Give every rule what all share: a message, an environment, and its command's options.

    The command has one option for each named input and output, which are the names of the stage's
    parameters. An input without a name is tracked, but not handed to the stage.

    Args:
        workflow: Snakemake's workflow, its rules read to the end.
        environment: Conda environment file, from the folder of the rules.
    """
    for rule in all_rules(workflow):
        set_message(rule)
        set_environment(rule, environment)
        found = re.match(rf"{re.escape(_PROGRAM)}(\w+)", command_of(rule))
        if found is not None:
            _OPTIONS[found[1]] = _options(rule)
            set_command(rule, stage_command(found[1]))


def _options(rule: Any) -> str:
    settings = "{params.settings:q}" if "settings" in dict(rule.params.items()) else "'{{}}'"
    paths = [
        f"--{name.replace('_', '-')} {{{kind}.{name}:q}}"
        for kind in ("input", "output")
        for name, _ in getattr(rule, kind).items()
    ]
    return " ".join(["", f"--settings {settings}", *paths, "--log {log:q}"])
