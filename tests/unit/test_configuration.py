"""Configuration mistakes become one sentence that names file, key, value and remedy."""

from pathlib import Path

import pytest
import yaml
from llm_anatomy.config.load import check_file, load_configuration
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
    ],
)
def test_checks_the_file_before_its_values(tmp_path, text, parts):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        check_file(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


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
