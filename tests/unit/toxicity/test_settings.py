"""Settings of the toxicity study: the papers' own run is valid, mistakes are sentences."""

import re
from pathlib import Path

import pytest
import yaml
from llm_anatomy.config.load import load_configuration
from llm_anatomy.errors import UserError
from llm_anatomy.tables.toxicity import TABLES

ROOT = Path(__file__).parents[3]


def load(toxicity: dict):
    return load_configuration({"toxicity": toxicity}, "mine.yaml").toxicity


def test_the_papers_configuration_names_its_six_classifiers():
    values = yaml.safe_load((ROOT / "config/papers/geometry.yaml").read_text(encoding="utf-8"))
    toxicity = load_configuration(values, "geometry.yaml").toxicity
    assert len(toxicity.baselines.hub_classifiers) == 6
    assert toxicity.classifiers.min_samples_leaf == [100]


@pytest.mark.parametrize(
    ("toxicity", "words"),
    [
        ({"classifiers": {"c": [0.1, 0]}}, "'toxicity.classifiers.c[1]' is 0; right would be"),
        ({"self_training": {"label_rates": [5]}}, "below 1"),
        ({"baselines": {"state_depths": [0]}}, "'state_depths' are shares of the depth"),
        (
            {"baselines": {"hub_classifiers": [{"name": "x", "hub": "a/b", "positive": ["t"]}]}},
            "the classifier 'x' has 'hub' without 'revision'",
        ),
        ({"transfer": [{"train": "a", "test": "a"}]}, "compares 'a' with itself"),
        ({"hard_negatives": [{"dataset": "a", "easy": "b"}] * 2}, "two entries for a and b"),
        ({"clasifiers": {}}, "did you mean 'classifiers'"),
    ],
)
def test_mistakes_are_one_sentence(toxicity, words):
    with pytest.raises(UserError) as error:
        load(toxicity)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "name", ["folds", "transfer", "hub", "hard_negatives", "metrics", "a-to-b"]
)
def test_a_models_or_datasets_name_never_makes_two_tables_share_a_path(name):
    """Folds belong to no model; a model of this name has tables of other names beside them."""
    patterns = {t.name: re.sub(r"\\{\w+\\}", "[^/]+", re.escape(t.path)) for t in TABLES}
    for table in TABLES:
        path = re.sub(r"\{\w+\}", name, table.path)
        assert [n for n, pattern in patterns.items() if re.fullmatch(pattern, path)] == [table.name]
