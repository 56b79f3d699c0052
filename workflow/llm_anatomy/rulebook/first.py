"""Before Snakemake reads the configuration: `profiles/default/profile.yaml` calls this."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llm_anatomy.config.file import check_file
from llm_anatomy.errors import UserError
from llm_anatomy.rulebook.private import asked_configfiles


def check_asked_files(arguments: Sequence[str] | None = None) -> None:
    """End the run with one sentence where a configuration file of the command line is no YAML.

    Snakemake reads the profile first, then these files, then the Snakefile; it would say neither
    the file nor the line, and take the last of two equal keys.
    """
    try:
        for name in asked_configfiles(sys.argv[1:] if arguments is None else arguments):
            check_file(Path(name))
    except UserError as error:
        sys.exit(f"Error: {error}")
