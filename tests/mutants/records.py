"""What became of mutants, kept between runs."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

JUDGED = "judged.toml"
Record = dict[str, Any]


class Records:
    """What became of mutants: one file per state of package and tests, one line per mutant.

    Args:
        folder: Of the files.
        tree: A copy of the project.
        again: Whether mutants that an earlier state of the tests noticed count as noticed where
            their module is the same.

    Attributes:
        known: What is known of mutants, by their key.
        survived: What survived earlier tests, and is to be run again.
    """

    def __init__(self, folder: Path, tree: Path, again: bool) -> None:
        self.code = identity(tree)
        self.file = folder / f"results-{self.code}.jsonl"
        self.known: dict[str, Record] = {}
        self.survived: dict[str, Record] = {}
        if again:
            for file in sorted(
                folder.glob("results-*.jsonl"), key=lambda each: each.stat().st_mtime
            ):
                for record in _lines(file):
                    if record["source"] == source_of(tree / record["key"].partition(":")[0]):
                        kept = self.survived if record["outcome"] == "survived" else self.known
                        kept[record["key"]] = record
        if self.file.exists():
            self.known |= {record["key"]: record for record in _lines(self.file)}

    def keep(self, record: Record) -> None:
        """Write down what became of a mutant."""
        with self.file.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.known[record["key"]] = record


def told(records: Sequence[Record], every: int, seed: int, code: str) -> str:
    """What a table of kill rates is of.

    Args:
        records: Of each mutant of the sample the `code` that it was run on, and the files that were
            set `aside`.
        every: How many mutants there are in all.
        seed: That the sample was drawn with.
        code: The present state of package and tests.
    """
    codes = [record["code"] for record in records]
    text = f"{len(codes)} of {every:,} mutants, drawn with seed {seed}, on the code {code} (a hash "
    text += "of package and tests)."
    older = [record for record in records if record["code"] != code]
    if older:
        alive = sum(record["outcome"] == "survived" for record in older)
        earlier = ", ".join(sorted({record["code"] for record in older}))
        text += f" {len(older) - alive} of them were noticed by earlier tests (of {earlier}) and "
        text += "not planted again, their modules being the same; what had survived there was "
        text += "planted again after tests were added"
        text += (
            f", but for {alive} that were judged or not reached, which count as survivors."
            if alive
            else "."
        )
    if aside := sorted({file for record in records for file in record["aside"]}):
        text += f" Set aside, as they fail without any fault: {', '.join(aside)}."
    return text


def source_of(path: Path) -> str:
    """A hash of a module's source; none where the module is gone."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else ""


def identity(tree: Path) -> str:
    """A hash of the package and the tests, without what is judged of survivors."""
    digest = hashlib.sha256()
    for folder in ("workflow", "tests"):
        for path in sorted((tree / folder).rglob("*")):
            if path.is_file() and path.name != JUDGED and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(tree)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _lines(file: Path) -> list[Record]:
    return [json.loads(line) for line in file.read_text().splitlines()]
