"""What reaches every stage beside its command line: environment variables, which rerun nothing."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from llm_anatomy.artefacts.remake import CONFIGURATION_VARIABLE
from llm_anatomy.config.base import Compute
from llm_anatomy.rulebook.code import package_root
from llm_anatomy.runner import COMPUTE_VARIABLE


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
