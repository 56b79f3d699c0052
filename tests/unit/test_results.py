"""Results have one name, wherever they lie."""

from pathlib import Path

import pytest
from llm_anatomy.artefacts.results import PLACES_VARIABLE, result_name, result_path

COPIES = ".snakemake/storage/s3/bucket/results/run/results"
ADDRESS = "s3://bucket/results/run/results"


def test_a_local_run_names_results_by_their_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLACES_VARIABLE, raising=False)
    for path in ("results/data/results/a.parquet", "/tmp/results/a.parquet", "mine.csv"):
        assert result_name(Path(path)) == path
        assert result_path(path) == Path(path)


def test_copies_and_addresses_in_object_storage_have_the_same_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PLACES_VARIABLE, f"{COPIES}\n{ADDRESS}")
    name = "results/facts/results/a.parquet"
    copy = Path(COPIES, "facts/results/a.parquet")
    assert result_name(copy) == result_name(f"{ADDRESS}/facts/results/a.parquet") == name
    assert result_path(name) == copy
    assert result_name("mine.csv") == str(result_path("mine.csv")) == "mine.csv"
