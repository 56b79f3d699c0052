"""What the Snakefile needs beside its rules. Stages never import this module."""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from llm_anatomy.artefacts.remake import CONFIGURATION_VARIABLE
from llm_anatomy.config.base import Compute
from llm_anatomy.rulebook.code import package_root
from llm_anatomy.runner import COMPUTE_VARIABLE


def settings_json(**sections: Any) -> str:
    """The settings of a stage as one deterministic line.

    Name exactly the sections that the stage reads: the line is a rule parameter, so a changed key
    reruns the stages whose lines hold it, and no other.

    Args:
        sections: Settings classes, lists of them, or plain values, by name.
    """
    text = json.dumps({name: _plain(part) for name, part in sections.items()}, sort_keys=True)
    # Snakemake would take a placeholder such as {subject} inside a text for a wildcard.
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda found: _escape_braces(found.group()), text)


def stage_environment(compute: Compute, files: Sequence[str] = ()) -> dict[str, str]:
    """Environment variables for every stage.

    Where and how fast things run travels beside the rules, so that it reruns nothing. The folder
    of this Python goes to the front of `PATH`, so that `.venv/bin/snakemake` works without
    activating the environment; the checkout goes to `PYTHONPATH`, so that conda environments,
    which hold the dependencies alone, find the package. Compiled modules are kept, whatever the
    user's shell says: dozens of short processes import torch, and without them each takes twice
    as long to start.

    Args:
        compute: Device, threads and batch budget.
        files: Configuration files that the user named, for the commands in error messages.
    """
    folder = str(Path(sys.executable).parent)
    checkout = package_root().parent
    paths = [os.environ.get("PYTHONPATH", "")]
    if checkout.name != "site-packages":
        paths.insert(0, str(checkout))
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONDONTWRITEBYTECODE": "",
        COMPUTE_VARIABLE: compute.model_dump_json(),
        CONFIGURATION_VARIABLE: "\n".join(files),
        "PATH": os.pathsep.join([folder, os.environ.get("PATH", "")]),
    }


def _escape_braces(text: str) -> str:
    return text.replace("{", r"\u007b").replace("}", r"\u007d")


def _plain(section: Any) -> Any:
    if isinstance(section, BaseModel):
        return section.model_dump(mode="json")
    if isinstance(section, list | tuple):
        return [_plain(item) for item in section]
    return section
