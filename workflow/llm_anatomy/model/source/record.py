"""A prepared model's provenance record: reading, verifying, and passing on to tables."""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from llm_anatomy.artefacts.documents import read_sealed, sealed, write_json
from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.artefacts.remake import remake_command
from llm_anatomy.config.base import Precision
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.remembered import remember, untouched

ARCHITECTURE = "architecture.json"
PROVENANCE = "provenance.json"


def write_record(folder: Path, record: dict[str, Any], architecture: dict[str, Any]) -> None:
    """Write a model's `architecture.json` and, sealed, its `provenance.json`.

    Args:
        folder: The model's folder in the results; its `weights/` are complete.
        record: What the provenance says; its `files` are the hashes of the weights' folder.
        architecture: Roles to tensor names.
    """
    write_json(folder / ARCHITECTURE, architecture)
    hashes = {"architecture_sha256": sha256_file(folder / ARCHITECTURE)}
    weights = folder / "weights"
    remember(folder, {weights / name: sha256 for name, sha256 in record["files"].items()})
    # Last, because every later stage waits for this file.
    write_json(folder / PROVENANCE, sealed(record | hashes))


def weight_hashes(weights: Path) -> tuple[dict[str, str], str]:
    """The sha256 of every file of a model's weights folder, and one of its safetensors files."""
    hashes = {path.name: sha256_file(path) for path in sorted(weights.iterdir()) if path.is_file()}
    lines = [f"{k}:{v}\n" for k, v in hashes.items() if k.endswith(".safetensors")]
    return hashes, hashlib.sha256("".join(lines).encode()).hexdigest()


def read_record(provenance_path: Path) -> dict[str, Any]:
    """A model's provenance record, whose own hash is checked, and no other file's.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        return read_sealed(provenance_path)
    except FileNotFoundError as error:
        raise UserError(f"{provenance_path} is missing; {_remedy(provenance_path)}") from error
    except ValueError as error:
        raise UserError(
            f"{provenance_path} is damaged ({error}); {_remedy(provenance_path)}"
        ) from error


def verified_record(provenance_path: Path) -> dict[str, Any]:
    """A model's provenance record, after checking the sha256 of every file it names.

    A file that was checked and has not been touched since is not read again: a large checkpoint
    takes longer to hash than many a job needs. `make verify` reads everything.

    Raises:
        UserError: A file is missing, added, or its bytes are not the recorded ones.
    """
    record = read_record(provenance_path)
    remedy = _remedy(provenance_path)
    folder = provenance_path.parent
    weights = folder / "weights"
    hashes = {folder / ARCHITECTURE: record["architecture_sha256"]}
    hashes |= {weights / name: expected for name, expected in sorted(record["files"].items())}
    if missing := [file for file in hashes if not file.exists()]:
        raise UserError(f"{missing[0]} is missing; {remedy}")
    unread = untouched(folder, hashes)
    for file, expected in hashes.items():
        if file not in unread and sha256_file(file) != expected:
            raise UserError(f"{file} is damaged (its sha256 is not the recorded one); {remedy}")
    if len(unread) < len(hashes):
        remember(folder, hashes)
    files = (file for file in weights.iterdir() if file.is_file())
    added = sorted(file for file in files if file not in hashes and not file.name.startswith("."))
    if added:
        raise UserError(f"{added[0]} is none of the files of the prepared model; {remedy}")
    return record


def _remedy(provenance_path: Path) -> str:
    # Only a tuned model has a table of its training beside it.
    tuned = (provenance_path.parent / "training.parquet").exists()
    rule = "fine_tune" if tuned else "prepare_model"
    remake = remake_command(rule, provenance_path)
    return f"it is made by the rule {rule}; remake it with: {remake}"


def table_provenance(record: dict[str, Any], precision: Precision) -> dict[str, Any]:
    """What every table made with a model says about it; holds no path, time or secret."""
    return {
        "model": record["model"],
        "revision": record["revision"],
        "weights_sha256": record["weights_sha256"],
        "dtype": precision.dtype,
        "quantisation": precision.quantisation,
        "control_tokens": record.get("control_tokens", "text"),
        "packages": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    names = ("llm-anatomy", "torch", "transformers", "tokenizers", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
