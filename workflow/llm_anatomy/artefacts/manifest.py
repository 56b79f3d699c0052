"""What every result came from, and whether it is still the file that was written.

The manifest lists every file below a results folder with its hash, the rule that made it, that
rule's inputs and parameters, a hash of the code that ran, and the provenance stored in the file.
It holds no times, so the same run gives the same manifest.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llm_anatomy.artefacts.documents import read_sealed, sealed
from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.artefacts.records import CODE
from llm_anatomy.artefacts.remake import remake_command
from llm_anatomy.artefacts.results import result_name, result_path
from llm_anatomy.errors import UserError

FORMAT = 1
NAME = "manifest.json"
# Pages that belong to the project, and files of a writer that was killed.
NOT_RESULTS = ("README.md", ".gitkeep")
UNFINISHED = ".partial"


def make_manifest(
    results: Path,
    records: Mapping[str, Mapping[str, Any]],
    table_provenance: Callable[[Path], Mapping[str, Any]],
) -> dict[str, Any]:
    """Describe every file below a results folder.

    Args:
        results: The folder.
        records: Snakemake's record of every output, by name, from `records.read_records`.
        table_provenance: What a table's numbers depend on: `tables.core.read_provenance`.
    """
    hashes: dict[Path, str] = {}

    def hash_once(path: Path) -> str:
        if path not in hashes:
            hashes[path] = sha256_file(path)
        return hashes[path]

    files, sources = {}, {}
    for path in result_files(results):
        record = _record_of(path, records)
        entry: dict[str, Any] = {"sha256": hash_once(path), "bytes": path.stat().st_size}
        if record is not None:
            names = sorted(result_name(name) for name in record["input"])
            # Snakemake records a text between quotes.
            code = [value for value in record["params"] if value.strip("'").startswith(CODE)]
            entry |= {
                "rule": record["rule"],
                "inputs": names,
                "parameters": [value for value in record["params"] if value not in code],
                "code_sha256": _code_hash(code),
            }
            for name in names:
                source = result_path(name)
                if source.is_file() and not source.is_relative_to(results):
                    sources[name] = hash_once(source)
        if path.suffix == ".parquet":
            entry["provenance"] = table_provenance(path)
        files[path.relative_to(results).as_posix()] = entry
    return sealed({"format": FORMAT, "files": files, "sources": sources})


def result_files(results: Path) -> list[Path]:
    """Every finished file below a results folder but the manifest itself, sorted."""
    found = []
    for folder, _, names in os.walk(results, followlinks=True):
        for name in names:
            path = Path(folder, name)
            finished = not any(part.endswith(UNFINISHED) for part in path.parts)
            # Hidden files are notes of this disk, such as which files were checked.
            hidden = name.startswith(".")
            if finished and not hidden and name not in NOT_RESULTS and path != results / NAME:
                found.append(path)
    return sorted(found)


def find_problems(results: Path) -> Iterator[str]:
    """Compare a results folder with its manifest; one sentence for every file that is not right.

    Raises:
        UserError: There is no manifest, or it is itself damaged.
    """
    path = results / NAME
    if not path.exists():
        raise UserError(f"{path} is missing; make it with: snakemake --cores 1 {path}")
    try:
        manifest = read_sealed(path)
    except ValueError as error:
        raise UserError(
            f"{path} is damaged, so that nothing can be checked against it; remake it with: "
            f"{remake_command('write_manifest', path)}"
        ) from error
    there = {file.relative_to(results).as_posix() for file in result_files(results)}
    for name, entry in manifest["files"].items():
        file = results / name
        remake = f"remake it with: {remake_command(str(entry.get('rule')), file)}"
        if name not in there:
            yield f"{file} is missing; {remake}"
        elif sha256_file(file) != entry["sha256"]:
            yield f"{file} is not the file that the manifest describes; {remake}"
    for name in sorted(there - set(manifest["files"])):
        yield f"{results / name} is not in the manifest; bring it up to date with: snakemake"


def _record_of(path: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The record of an output, or of the output folder around it."""
    for place in (path, *path.parents):
        if (name := result_name(place)) in records:
            return records[name]
    return None


def _code_hash(code: list[str]) -> str | None:
    """One hash over the modules that a stage ran, as its rule's parameters name them."""
    return hashlib.sha256("\n".join(sorted(code)).encode()).hexdigest() if code else None
