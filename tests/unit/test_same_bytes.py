"""Nothing that differs between two processes on one machine is seen in a result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import save_tiny_model

# From a user's folder to tables, stage after stage, as rules call them.
STAGES = """
import json, sys
from pathlib import Path
from llm_anatomy.stages import build_dataset, find_concepts, map_neurons, prepare_model, split_texts

def call(stage, settings, **paths):
    given = next(v for k, v in vars(stage).items() if k.endswith("Stage") and k != "Stage")
    stage.run(given.model_validate_json(json.dumps(settings)), **paths)

data, model = Path("results/data"), Path("results/models/m")
dataset = json.loads(Path("dataset.json").read_bytes())
texts = data / "d.parquet"
call(build_dataset, {"seed": 3, "dataset": dataset}, sources=(Path("d.jsonl"),), table=texts,
     intake=data / "d_intake.parquet")
folds = {"n_folds": 2, "n_inner_folds": 2}
call(split_texts, {"seed": 3, "folds": folds}, texts=texts, folds=Path("results/folds.parquet"),
     labels=Path("results/labels.parquet"), duplicates=Path("results/duplicates.parquet"))
call(prepare_model, {"model": {"name": "m", "path": "mine"}, "precision": {}}, sources=(),
     weights=model / "weights", architecture=model / "architecture.json",
     provenance=model / "provenance.json")
decoding = {"matrices": ["up", "down"], "top_k": 3}
call(map_neurons, {"map": decoding, "part": 0}, model=model / "provenance.json",
     vocabulary=Path("results/vocabulary.parquet"), statistics=Path("results/statistics.parquet"))
search = {"concepts": [{"name": "Paris", "words": ["Paris", "Rome"]}], "neurons": 3,
          "reference_tokens": 16}
call(find_concepts, {"seed": 3, "map": decoding, "search": search},
     model=model / "provenance.json", concepts=Path("results/concepts.parquet"),
     concept_tokens=Path("results/concept_tokens.parquet"))
"""
PROCESSES = {
    "plain": {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8"},
    # Sets of texts in another order, another day, and files that are not UTF-8 unless one says so.
    "other": {
        "PYTHONHASHSEED": "77",
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    },
}


def write_inputs(folder: Path, reverse: bool) -> None:
    """The same files, made in one order or in the other, which a folder may list them in."""
    kinds = ["blöd", "仇恨", "fine", "none", "ok"]
    records = [
        {"text": f"Grüße number {n} to {kinds[n % 5]}", "kind": [kinds[n % 5], kinds[n % 3]]}
        for n in range(40)
    ]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    source = {"name": "d", "path": "d.jsonl", "licence": "für alle"}
    source["labels"] = [{"name": "kind", "every_value": True}]
    save_tiny_model(folder / "made")
    (folder / "made" / "README.md").write_text("---\nlicense: frei-für-alle\n---\n", "utf-8")
    (folder / "mine").mkdir()
    for file in sorted((folder / "made").iterdir(), reverse=reverse):
        file.rename(folder / "mine" / file.name)
    (folder / "d.jsonl").write_text(lines, "utf-8")
    (folder / "dataset.json").write_text(json.dumps(source), "utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    found = {}
    for name, environment in PROCESSES.items():
        folder = tmp_path_factory.mktemp(name)
        write_inputs(folder, reverse=name == "other")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}
        subprocess.run(
            [sys.executable, "-c", STAGES], cwd=folder, env=kept | environment, check=True
        )
        files = sorted(file for file in (folder / "results").rglob("*") if file.is_file())
        # Hidden files are notes of this disk.
        found[name] = {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in files
            if not file.name.startswith(".")
        }
    return found


def test_hash_seed_locale_time_zone_and_order_of_files_leave_the_same_bytes(
    results: dict[str, dict[str, bytes]],
) -> None:
    plain, other = results.values()
    assert len(plain) >= 12
    assert plain.keys() == other.keys()
    assert [name for name in plain if plain[name] != other[name]] == []
