"""Inputs made to break the doors: each is one sentence before any job, or means what it says."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.models import ModelSource
from llm_anatomy.data.check import check_dataset
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.model.source.folder import check_source
from llm_anatomy.model.source.prepare import prepare
from safetensors.torch import load_file, save_file

from tests.tiny import save_tiny_model

ROWS = "text,ok\ngrüße,1\nzwei,0\n"


def said(act: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check(path: Path, **settings: Any) -> None:
    check_dataset(Dataset(name="d", path=str(path), labels=["ok"], **settings))


def test_a_link_to_nowhere_is_no_misspelled_name(tmp_path: Path) -> None:
    (tmp_path / "d.csv").symlink_to("gone.csv")
    assert "is a link to gone.csv, where there is no file" in said(
        lambda: check(tmp_path / "d.csv")
    )


def test_a_gzipped_parquet_file_is_gzipped_once(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"text": ["a"], "ok": [1]}), path)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert "(it is gzipped; unpack it)" in said(lambda: check(path))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso-8859-15"])
def test_utf_8_is_not_read_as_western_letters(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(ROWS, "utf-8")
    assert f"is UTF-8, which {encoding} would read as other letters" in said(
        lambda: check(path, encoding=encoding)
    )
    # What is in the encoding, or in letters that both have, is taken.
    for content in (ROWS.encode(encoding), b"text,ok\nx,1\ny,0\n"):
        path.write_bytes(content)
        check(path, encoding=encoding)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            "seed: true",
            "the key 'seed' is true; YAML reads yes, no, on and off so, and right would",
        ),
        ("compute: {threads: yes}", "the key 'compute.threads' is true"),
        (
            "patching: {manipulations: [{kind: freeze, name: f, positions: [on]}]}",
            "the key 'patching.manipulations[0].positions[0]' is true",
        ),
        ("geometry: {relative_threshold: off}", "relative_threshold"),
        ("studies: &a [*a]", "the key 'studies[0]' is a value that holds itself"),
        (
            "models: [{name: M, path: a}, {name: m, path: b}]",
            "named 'M' and 'm', which are one folder on disks that do not tell upper from lower",
        ),
        (f"models: [{{name: {'x' * 81}, path: a}}]", "right would be text of the form"),
    ],
)
def test_a_configuration_that_cannot_be_meant(text: str, part: str) -> None:
    assert part in said(lambda: load_configuration(yaml.safe_load(text), "mine.yaml"))


def test_what_may_be_a_truth_value_still_is_one() -> None:
    label = "{name: x, column: c, positive: [on]}"
    datasets = f"[{{name: d, path: d.csv, labels: [{label}]}}]"
    values = yaml.safe_load(f"{{studies: [neurons], datasets: {datasets}}}")
    (dataset,) = load_configuration(values, "mine.yaml").datasets
    assert dataset.labels[0].positive == [True]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "mine")


def test_bytes_behind_the_last_tensor(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes() + b"more")
    source = ModelSource(name="mine", path=str(folder))
    assert "has 4 bytes behind its last tensor" in said(lambda: check_source(source))


@pytest.mark.parametrize("content", ['{"eos_token_id": [9], broken', "[1]"])
def test_end_tokens_that_cannot_be_read(folder: Path, content: str) -> None:
    (folder / "generation_config.json").write_text(content)
    source = ModelSource(name="mine", path=str(folder))
    assert "generation_config.json" in said(lambda: check_source(source))


def test_weights_that_are_infinite_in_the_type_of_the_run(folder: Path, tmp_path: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][0, 0] = 1e6
    save_file(tensors, file, {"format": "pt"})
    source = ModelSource(name="mine", path=str(folder))

    def prepared(dtype: Any) -> None:
        prepare(source, (), tmp_path / dtype, Precision(dtype=dtype), Compute())

    message = said(lambda: prepared("float16"))
    assert f"'{name}' of model.safetensors holds 1e+06, which is infinite in float16" in message
    assert "precision.dtype: bfloat16" in message
    prepared("bfloat16")


def test_a_tokenizer_that_pads_and_cuts_gives_the_same_tokens(folder: Path) -> None:
    texts = Vocabulary(folder).texts
    file = folder / "tokenizer.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    described["truncation"] = {
        "direction": "Right",
        "max_length": 1,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    described["padding"] = {
        "strategy": {"Fixed": 4},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 300,
        "pad_type_id": 0,
        "pad_token": "Ġthe",
    }
    file.write_text(json.dumps(described), encoding="utf-8")
    assert Vocabulary(folder).texts == texts
    assert torch.tensor([text is not None for text in texts]).all()
