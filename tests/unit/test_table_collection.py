"""Whose a table is never depends on the order in which paths are given."""

import importlib
import pkgutil
from pathlib import Path

import llm_anatomy.tables
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.artefacts.results import PLACES_VARIABLE
from llm_anatomy.errors import UserError
from llm_anatomy.tables.collection import Collection, write_tables
from llm_anatomy.tables.core import Column, TableSchema, write_table
from llm_anatomy.tables.registry import ALL_TABLES


def _schema(name: str, path: str, rule: str) -> TableSchema:
    columns = (Column("key", pa.string(), "Whose."), Column("value", pa.int64(), "What."))
    return TableSchema(f"test/{name}", path, rule, "A value.", columns)


SCORES = _schema("scores", "results/test/{model}/{dataset}/scores.parquet", "score")
# Two tables of one stage, one of which is any other file of the folder.
CURVES = _schema("curves", "results/test/{model}/{dataset}/curves.parquet", "draw_curves")
SWEEP = _schema("sweep", "results/test/{model}/{dataset}/{manipulation}.parquet", "sweep")
SIZES = _schema("sizes", "results/test/{model}/sizes.parquet", "measure_sizes")
PAIRS = _schema("pairs", "results/test/{a}-to-{b}/pairs.parquet", "pair")
SCHEMAS = (SCORES, CURVES, SWEEP, SIZES, PAIRS)
NAMES = ("alpha", "beta", "beta-to")


def _write(root: Path, schema: TableSchema, rows: int = 1, **owner: str) -> Path:
    path = root / schema.path.format_map(owner)
    key = "/".join(owner.values())
    write_table(path, schema, {"key": [key] * rows, "value": [*range(rows)]}, {"owner": key})
    return path


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("run")
    found = []
    for model in NAMES:
        found.append(_write(root, SIZES, model=model))
        for dataset in NAMES:
            found.append(_write(root, SCORES, model=model, dataset=dataset))
            found.append(_write(root, CURVES, model=model, dataset=dataset))
            for kind in ("none", "noise"):
                owner = {"model": model, "dataset": dataset, "manipulation": kind}
                found.append(_write(root, SWEEP, **owner))
    return found


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_table_is_its_owners_in_any_order_of_paths(
    paths: list[Path], data: st.DataObject
) -> None:
    tables = Collection(data.draw(st.permutations(paths)), SCHEMAS)
    assert tables.paths == Collection(paths, SCHEMAS).paths
    assert sorted(tables.paths) == sorted(paths)
    for schema in (SCORES, CURVES, SWEEP, SIZES):
        owners = tables.owners(schema)
        assert owners == sorted(owners, key=lambda owner: tuple(owner.values()))
        for owner, frame in tables.each(schema):
            assert list(frame["key"]) == ["/".join(owner.values())]
            assert tables.frame(schema, **owner).equals(frame)
            assert tables.provenance(schema, **owner) == {"owner": frame["key"][0]}
    model, datasets = data.draw(st.sampled_from(NAMES)), data.draw(st.permutations(NAMES))
    joined = tables.joined(SCORES, model=model, dataset=datasets)
    assert list(joined["key"]) == [f"{model}/{dataset}" for dataset in datasets]
    assert list(joined["dataset"]) == list(datasets)
    assert list(joined.columns) == ["key", "value", "dataset"]
    every = tables.joined(SWEEP, dataset="alpha")
    assert list(every["key"]) == list(every["model"] + "/alpha/" + every["manipulation"])


def test_some_owners_of_many_may_have_no_table_but_not_one_that_is_named(
    paths: list[Path],
) -> None:
    some = [path for path in paths if "beta/beta/" not in path.as_posix()]
    tables = Collection(some, SCHEMAS)
    assert [owner["dataset"] for owner in tables.owners(SCORES, model="beta")] == [
        "alpha",
        "beta-to",
    ]
    sentence = (
        r"scores of model beta, dataset beta is not among those given \(.*model alpha, dataset "
        r"beta.*\); it is made by the rule score; make it with: .*beta/beta/scores.parquet"
    )
    with pytest.raises(UserError, match=sentence):
        tables.frame(SCORES, model="beta", dataset="beta")
    with pytest.raises(UserError, match="of model beta, dataset beta is not among those"):
        tables.joined(SCORES, model=NAMES, dataset=NAMES)
    assert tables.owners(PAIRS) == []
    assert list(tables.joined(PAIRS).columns) == ["key", "value", "a", "b"]


def test_empty_tables_do_not_change_the_types_of_joined_ones(tmp_path: Path) -> None:
    paths = [
        _write(tmp_path, SIZES, rows, model=model) for model, rows in (("a", 0), ("b", 2), ("c", 0))
    ]
    joined = Collection(paths, [SIZES]).joined(SIZES)
    assert list(joined["model"]) == ["b", "b"]
    assert joined["value"].dtype == "int64"
    assert Collection(paths[:1], [SIZES]).joined(SIZES).empty


def test_a_question_that_the_schema_does_not_know_is_refused(paths: list[Path]) -> None:
    tables = Collection(paths, [SCORES, CURVES, SWEEP, SIZES])
    with pytest.raises(ValueError, match=r"told apart by \['dataset'\], too"):
        tables.path(SCORES, model="alpha")
    with pytest.raises(ValueError, match=r"not told apart by \['relation'\]"):
        tables.owners(SCORES, relation="alpha")
    with pytest.raises(ValueError, match="not told of the table test/pairs"):
        tables.owners(PAIRS)


def test_two_files_of_one_owner_are_refused_and_the_same_file_twice_is_not(tmp_path: Path) -> None:
    first, second = (_write(tmp_path / copy, SIZES, model="m") for copy in ("one", "two"))
    assert Collection([first, first], SCHEMAS).paths == [first]
    with pytest.raises(UserError, match=f"{first} and {second} are both the table test/sizes of m"):
        Collection([second, first], SCHEMAS)


def test_a_file_in_anothers_place_is_named(tmp_path: Path) -> None:
    sweep = _write(tmp_path, SWEEP, model="m", dataset="d", manipulation="curves")
    with pytest.raises(UserError, match="holds the table 'test/sweep' where 'test/curves' belongs"):
        Collection([sweep], SCHEMAS)
    # Only by a schema that the reader knows can a file be in another's place.
    assert Collection([sweep], [SWEEP]).owners(SWEEP)[0]["manipulation"] == "curves"
    elsewhere = tmp_path / "sizes.parquet"
    elsewhere.write_bytes(_write(tmp_path, SIZES, model="m").read_bytes())
    with pytest.raises(UserError, match=f"{elsewhere} does not lie where any table lies"):
        Collection([elsewhere], SCHEMAS)


def test_a_missing_or_damaged_file_is_named_with_its_remedy(tmp_path: Path) -> None:
    path = _write(tmp_path, SIZES, model="m")
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"sizes.parquet is damaged .*the rule measure_sizes"):
        Collection([path], SCHEMAS)
    path.unlink()
    with pytest.raises(UserError, match=r"sizes.parquet is missing; it is made by the rule"):
        Collection([path], SCHEMAS)


def test_a_path_with_two_readings_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, PAIRS, a="x", b="y-to-z")
    with pytest.raises(UserError, match=r"can be read in two ways as results/test/{a}-to-{b}"):
        Collection([path], SCHEMAS)


def test_copies_of_object_storage_have_the_owners_of_their_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path, SIZES, model="m")
    place = tmp_path / "copies" / "bucket"
    (tmp_path / "copies").mkdir()
    (tmp_path / "results").rename(place)
    copy = place / path.relative_to(tmp_path / "results")
    with pytest.raises(UserError, match="does not lie where"):
        Collection([copy], SCHEMAS)
    monkeypatch.setenv(PLACES_VARIABLE, f"{place}\ns3://bucket")
    assert Collection([copy], SCHEMAS).path(SIZES, model="m") == copy


def test_the_registry_holds_the_tables_of_every_module() -> None:
    declared = {
        schema.name: schema
        for module in pkgutil.iter_modules(llm_anatomy.tables.__path__)
        for schema in getattr(
            importlib.import_module(f"llm_anatomy.tables.{module.name}"), "TABLES", ()
        )
    }
    assert declared == ALL_TABLES
    assert pd.Series([schema.path for schema in ALL_TABLES.values()]).is_monotonic_increasing


def test_every_table_is_written_where_its_schema_lies(tmp_path: Path) -> None:
    owner = {"model": "alpha", "dataset": "beta", "manipulation": "noise"}
    frames = {
        schema: pd.DataFrame({"key": [schema.name], "value": [1]})
        for schema in (SWEEP, CURVES, SIZES)
    }
    paths = [tmp_path / schema.path.format_map(owner) for schema in (SIZES, CURVES, SWEEP)]
    write_tables(paths, frames, {"seed": 3})
    collection = Collection(paths, SCHEMAS)
    for schema in frames:
        (found,) = collection.owners(schema)
        assert collection.frame(schema, **found)["key"].tolist() == [schema.name]
        assert collection.provenance(schema, **found) == {"seed": 3}
    with pytest.raises(ValueError, match=r"no path is given for .*test/sizes"):
        write_tables(paths[1:], frames, {})
    with pytest.raises(ValueError, match=r"sizes\.parquet does not lie where any of"):
        write_tables(paths, {SWEEP: frames[SWEEP], CURVES: frames[CURVES]}, {})
