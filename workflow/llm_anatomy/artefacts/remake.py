"""The command that makes a result again, as error messages give it."""

import os
import shlex
from pathlib import Path

from llm_anatomy.artefacts.results import result_name

# Set by the workflow: the configuration files that the user named, one a line.
CONFIGURATION_VARIABLE = "LLM_ANATOMY_CONFIGURATION"
# Set by `llm-anatomy run`: how its user runs the workflow.
COMMAND_VARIABLE = "LLM_ANATOMY_COMMAND"


def remake_command(rule: str, path: Path) -> str:
    """The command line that makes a result again, whatever the state of its inputs' records.

    Args:
        rule: The Snakemake rule that makes it.
        path: The result.
    """
    files = os.environ.get(CONFIGURATION_VARIABLE, "").splitlines()
    chosen = ["--configfile", *files] if files else []
    program = os.environ.get(COMMAND_VARIABLE, "snakemake").split()
    command = [*program, "--cores", "1", *chosen, "--forcerun", rule, "--", result_name(path)]
    return shlex.join(command)
