"""Configuration mistakes become one sentence that names file, key, value and remedy."""

from pathlib import Path

import pytest
import yaml
from llm_anatomy.config.file import check_file
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.root import Configuration
from llm_anatomy.errors import UserError

ROOT = Path(__file__).parents[2]

MISTAKES = {
    "sed: 1": ["unknown key 'sed'", "did you mean 'seed'"],
    "foo_bar: 1": ["unknown key 'foo_bar'", "the keys at the top level are", "seed"],
    "max_length: 3": ["did you mean 'geometry.extraction.max_length'"],
    "geometry: {extraction: {max_lenght: 3}}": [
        "'geometry.extraction.max_lenght'",
        "did you mean 'max_length'",
    ],
    "seed: many": ["'seed' is \"many\"", "a whole number", "Seed of everything"],
    "seed: -1": ["'seed' is -1", "at least 0"],
    "studies: [geometri]": ["'studies[0]' is \"geometri\"", "'geometry', 'toxicity'"],
    "precision: {dtype: float46}": ["'precision.dtype'", '"float46"', "'bfloat16'"],
    "models: []": ["'models' is []", "at least 1"],
    "models: 3": ["'models' is 3", "a list"],
    "models: [{path: m}]": ["'models[0].name' is missing"],
    "models: [{name: m}]": ["in 'models[0]'", "'m'", "'wheel', 'hub', 'path', 'gguf'"],
    "models: [{name: m, path: a}, {name: m, path: b}]": ["two entries are named 'm'"],
    "geometry:": ["'geometry' is null", "leave the key out"],
    "geometry: {extraction: {state_layers: 3}}": ["state_layers' is 3", "'all' or a list"],
    "geometry: {extraction: {state_layers: [a]}}": ['state_layers[0]\' is "a"', "whole number"],
    "patching: {tasks: [{kind: relation, name: x, relationn: y}]}": [
        "'patching.tasks[0].relationn'",
        "did you mean 'relation'",
    ],
    "datasets: [{name: rivers, kind: relation, path: r.csv}]": [
        "'patching.tasks[0].relation' is 'capitals'",
        "there are rivers",
        "leave 'patching' out of 'studies'",
    ],
    "datasets: [{name: q, path: q.csv, question: ask}]": [
        "'q' has 'question'",
        "belongs to kind: qa, and is of kind: texts",
    ],
    "datasets: [{name: p, kind: prompts, path: p.csv, max_rows: 3}]": ["'p' has 'max_rows'"],
    "datasets: [{name: q, path: q.xlsx}]": ["'q.xlsx'", "suffix is not known"],
    "studies: [patching]\npatching: {tasks: [{kind: extractive_qa, name: x, dataset: capitals}]}": [
        "'patching.tasks[0].dataset' is 'capitals'",
        "no data set of kind 'qa' of 'datasets' (there are none)",
        "{name: capitals, kind: qa, ...}",
    ],
    "studies: [geometry]\ngeometry: {prompts: {dataset: domains}}": [
        "'geometry.prompts.dataset' is 'domains'",
        "no data set of kind 'prompts'",
    ],
    "patching: {tasks: [{kind: extractive_qa, name: x, file: squad.json}]}": [
        "unknown key 'patching.tasks[0].file'",
    ],
    "geometry: {inserts: {file: mine.csv}}": [
        "unknown key 'geometry.inserts.file'",
        "files are named in 'datasets'",
        "under dataset",
    ],
    "patching: {tasks: [{kind: sums, name: x}]}": ["'patching.tasks[0]'", "'arithmetic'"],
}


@pytest.mark.parametrize("text", MISTAKES)
def test_names_the_file_the_key_and_what_would_be_right(text):
    with pytest.raises(UserError) as caught:
        load_configuration(yaml.safe_load(text), "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    assert "\n" not in message
    for part in MISTAKES[text]:
        assert part in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seed: 1\nseed: 2\n", ["line 2", "'seed' is given twice"]),
        ("compute:\n  threads: 1\n  threads: 2\n", ["line 3", "'threads' is given twice"]),
        ("seed: [1\n", ["line 2", "not valid YAML"]),
        ("- seed\n", ["holds a list"]),
        ("a\tb: 1\n\tc: 2\n", ["not valid YAML"]),
        ("seed: 1\ncompute: {threads: 010}\n", ["line 2", "010", "octal", "write 10"]),
        ("seed: -0_17\n", ["line 1", "octal"]),
        ("a: 1\nseed: 1:30\n", ["line 2", "1:30", "base of 60", "quotes"]),
        ("seed: 1:30.5\n", ["line 1", "base of 60"]),
        ("seed: 1\nprompt: {{subject}}\n", ["line 2", "quotes"]),
        ("seed: 1\nprompt: {subject} is\n", ["line 2", "not valid YAML"]),
        ("seed: 1\nname: a\x07b\n", ["line 2", "U+0007"]),
        ("a: 1\nseed: !!python/name:os.system 1\n", ["line 2", "not valid YAML"]),
        ("seed: *nothing\n", ["line 1", "not valid YAML"]),
        ('{\n\t"seed": 1,\n\t"seed": 2\n}', ["line 3", "'seed' is given twice"]),
        ("seed: 1\n---\nseed: 2\n", ["line 2", "not valid YAML"]),
    ],
)
def test_checks_the_file_before_its_values(tmp_path, text, parts):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        check_file(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("seed: 1\n# größer".encode("latin-1"), ["line 2", "0xf6", "save the file as UTF-8"]),
        ("seed: 1".encode("utf-16"), ["UTF-16", "save it as UTF-8"]),
        ("seed: 1".encode("utf-16-le"), ["UTF-16", "save it as UTF-8"]),
        ("seed: 1".encode("utf-16-be"), ["UTF-16", "save it as UTF-8"]),
    ],
)
def test_another_encoding_is_one_sentence(tmp_path, content, parts):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        check_file(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "seed: 0\n",
        "seed: +7\nrate: 1e-3\nhalf: 0.5\nmany: 1_000\nhex: 0x1F\n",
        "name: '010'\nclock: '1:30'\nversion: 1.10\n",
        '{\n\t"seed": 1,\n\t"name": "a\\tb"\n}',
        "\ufeffseed: 1\n",
        "base: &b {threads: 1}\ncompute:\n  <<: *b\n  threads: 2\n",
        "",
    ],
)
def test_what_means_what_it_says_is_taken(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    check_file(path)


@pytest.mark.parametrize("device", ["gpu", "mps", "mps:0", "CUDA", "cuda:", "cuda:-1", "cpu:0", ""])
def test_a_device_that_does_not_exist_is_one_sentence(device):
    with pytest.raises(UserError) as caught:
        load_configuration({"compute": {"device": device}}, "mine.yaml")
    for part in ("mine.yaml", "'compute.device'", f'"{device}"', "set 'cpu', 'cuda'"):
        assert part in str(caught.value)
    assert ("mps is not supported" in str(caught.value)) == device.startswith("mps")


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:3"])
def test_devices(device):
    assert load_configuration({"compute": {"device": device}}, "m").compute.device == device


def test_numbers_are_finite():
    values = {"neurons": {"clamping": {"values": [1.0, float("inf")]}}}
    with pytest.raises(UserError, match=r"values\[1\].*a finite number"):
        load_configuration(values, "mine.yaml")


def test_names_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.yaml: .*No such file"):
        check_file(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("key", ["seed", "studies", "models", "precision", "compute"])
def test_shipped_default_file_says_what_the_defaults_are(key):
    """config/config.yaml only makes studies smaller than their defaults, never other ones."""
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    configuration = load_configuration(shipped, "config/config.yaml")
    assert getattr(configuration, key) == getattr(Configuration(), key)


def test_shipped_default_file_takes_the_default_data_or_fewer_of_them():
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    configuration = load_configuration(shipped, "config/config.yaml")
    known = {dataset.name: dataset for dataset in Configuration().datasets}
    for dataset in configuration.datasets:
        assert dataset.model_copy(update={"max_rows": None}) == known[dataset.name]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_every_shipped_file_is_valid(path):
    check_file(path)
    load_configuration(yaml.safe_load(path.read_text()) or {}, str(path))
