"""Tiny stand-ins for the pinned wheels: the real layout, a handful of rows."""

import csv
import io
import json
import zipfile
from pathlib import Path

from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.data import wheels


def make_wheel(folder: Path, requirement: str, files: dict[str, str], monkeypatch) -> Path:
    """Write a wheel under its pinned file name and pin these bytes instead of the real ones."""
    known = wheels.known_wheel(requirement)
    path = folder / known.filename
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    pinned = [
        wheels.Wheel(w.requirement, w.filename, sha256_file(path), w.licence) if w == known else w
        for w in wheels.WHEELS
    ]
    monkeypatch.setattr(wheels, "WHEELS", tuple(pinned))
    return path


def harm_csv(rows: list[tuple[str, list[float]]]) -> str:
    """A PyRIT harm file: a comment line, then answers with their human scores."""
    stream = io.StringIO()
    stream.write("# dataset_version=1.0, harm_definition=x.yaml,,\n")
    width = max(len(values) for _, values in rows)
    scores = [f"human_score_{i + 1}" for i in range(width)]
    writer = csv.writer(stream)
    writer.writerow(["harm_category", "objective", "assistant_response", *scores, "data_type"])
    for text, values in rows:
        missing = [""] * (width - len(values))
        writer.writerow(["x", "ask", text, *values, *missing, "text"])
    return stream.getvalue()


def country(name: str, code: str, **facts: object) -> str:
    """A countryinfo record."""
    record = {"name": name, "ISO": {"alpha2": code}, "population": 1000, "region": "Europe"}
    return json.dumps(record | facts)
