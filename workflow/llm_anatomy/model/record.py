"""A prepared model's provenance record: reading, verifying, and passing on to tables."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

from llm_anatomy.config.base import Precision
from llm_anatomy.errors import UserError
from llm_anatomy.files import sha256_file


def verified_record(provenance_path: Path) -> dict[str, Any]:
    """A model's provenance record, after checking the sha256 of every file it names.

    Raises:
        UserError: A file is missing or its bytes are not the recorded ones.
    """
    record: dict[str, Any] = json.loads(provenance_path.read_text())
    weights = provenance_path.parent / "weights"
    remake = f"remake it with: snakemake --forcerun prepare_model -- {provenance_path}"
    for name, expected in sorted(record["files"].items()):
        file = weights / name
        if not file.exists():
            raise UserError(f"{file} is missing; it is made by the rule prepare_model; {remake}")
        if sha256_file(file) != expected:
            raise UserError(
                f"{file} is damaged (its sha256 is not the recorded one); it is made by the rule "
                f"prepare_model; {remake}"
            )
    return record


def table_provenance(record: dict[str, Any], precision: Precision) -> dict[str, Any]:
    """What every table made with a model says about it; holds no path, time or secret."""
    return {
        "model": record["model"],
        "revision": record["revision"],
        "weights_sha256": record["weights_sha256"],
        "dtype": precision.dtype,
        "quantisation": precision.quantisation,
        "packages": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    names = ("llm-anatomy", "torch", "transformers", "tokenizers", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
