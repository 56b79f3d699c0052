"""Configuration files read as a run reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from llm_anatomy.config.file import check_file
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.root import Configuration


def read_configuration(files: Sequence[Path]) -> Configuration:
    """The validated configuration of one file, or of several, of which later ones win.

    Raises:
        UserError: A file is missing or no YAML, or a key or value is wrong.
    """
    values: dict[str, Any] = {}
    for file in files:
        check_file(file)
        read = yaml.safe_load(file.read_text(encoding="utf-8-sig")) or {}
        values = _merged(values, read) if values else read
    return load_configuration(values, ", ".join(map(str, files)))


def _merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    from snakemake.utils import update_config

    update_config(values, more)
    return values
