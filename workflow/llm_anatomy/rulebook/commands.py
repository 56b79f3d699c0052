"""The command line of every stage, written from its rule's own named inputs and outputs."""

import re
from collections.abc import Iterable
from typing import Any

_PROGRAM = "python -m llm_anatomy.stages."
_OPTIONS: dict[str, str] = {}


def stage_command(stage: str) -> str:
    """The command of a stage: its rule's `shell`.

    Snakemake asks twice: while it reads the rule, whose inputs and outputs are not known yet, and
    when the job starts, by when `complete_commands` has added the options.
    """
    return f"{_PROGRAM}{stage}{_OPTIONS.get(stage, '')}"


def complete_commands(rules: Iterable[Any]) -> None:
    """Give the command of every rule its options: one for each named input and output.

    An input without a name is tracked, but not handed to the stage. The stage's parameters have
    the names of its rule's inputs and outputs.

    Args:
        rules: Snakemake's rules, read to the end.
    """
    for rule in rules:
        found = re.match(rf"{re.escape(_PROGRAM)}(\w+)", rule.shellcmd or "")
        if found is not None:
            _OPTIONS[found[1]] = _options(rule)
            rule.shellcmd = stage_command(found[1])


def _options(rule: Any) -> str:
    settings = "{params.settings:q}" if "settings" in dict(rule.params.items()) else "'{{}}'"
    paths = [
        f"--{name.replace('_', '-')} {{{kind}.{name}:q}}"
        for kind in ("input", "output")
        for name, _ in getattr(rule, kind).items()
    ]
    return " ".join(["", f"--settings {settings}", *paths, "--log {log:q}"])
