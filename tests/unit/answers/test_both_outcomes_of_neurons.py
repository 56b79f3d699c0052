"""Neurons of a model that answers: a concept that an edit takes away, and answers that differ."""

from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.base import Compute
from llm_anatomy.config.neurons import (
    Clamping,
    ClampTarget,
    Concept,
    ConceptSearch,
    Edit,
    FavouriteTest,
    VocabularyMap,
)
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.concepts import ConceptIndex
from llm_anatomy.neurons.editing import edit_concepts
from llm_anatomy.neurons.favourite import ask_favourites
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.search import find_concepts
from llm_anatomy.neurons.sweep import sweep_clamps
from llm_anatomy.neurons.weights import ModelWeights

from tests.answering import TEMPLATE
from tests.unit.answers.columns import unexplained
from tests.unit.neurons.tools import PRECISION

FRANCE, TOGO, ITALY = (TEMPLATE.format(subject=name) for name in ("France", "Togo", "Italy"))
HELD = "The city of Rome lies in Italy."
# Where a column holds one value, and why.
CONSTANT = {
    "favourite.layer": "one neuron is clamped",
    "favourite.positions": "one choice per run",
    "favourite.site": "one choice per run",
}


@pytest.fixture(scope="module")
def loaded(answering: Path) -> LoadedModel:
    return load_model(answering, PRECISION, Compute(threads=1))


@pytest.fixture(scope="module")
def index(answering: Path) -> ConceptIndex:
    concepts = [Concept(name=name, words=[name]) for name in ("Paris", "Rome")]
    search = ConceptSearch(concepts=concepts, neurons=5, reference_tokens=16, neighbours=3)
    weights, vocabulary = ModelWeights(answering.parent), Vocabulary(answering.parent / "weights")
    found = find_concepts(weights, vocabulary, search, VocabularyMap(), 0)
    return ConceptIndex(concepts, vocabulary, found.neurons)


@pytest.fixture(scope="module")
def edits(loaded: LoadedModel, index: ConceptIndex) -> pd.DataFrame:
    settings = Edit(concepts=["Paris", "Rome"], rows=[1, 16], prompts=[FRANCE, TOGO, ITALY])
    return edit_concepts(loaded.decoder, loaded.tokenizer, index, settings, HELD)


@pytest.fixture(scope="module")
def clamps(loaded: LoadedModel, index: ConceptIndex) -> pd.DataFrame:
    asked = (("Paris", TOGO), ("Rome", FRANCE))
    targets = [ClampTarget(concept=concept, prompt=prompt) for concept, prompt in asked]
    settings = Clamping(
        targets=targets, operations=["set", "add"], values=[-6, 0, 6], kl_targets=[0.05],
        held_text=HELD, top_tokens=3,
    )  # fmt: skip
    return sweep_clamps(PromptRunner(loaded.decoder), loaded.tokenizer, index, settings, 0)


def favourites(loaded: LoadedModel, index: ConceptIndex, seed: int) -> pd.DataFrame:
    settings = FavouriteTest(
        concept="Paris", questions=[FRANCE, ITALY], prefill=" The capital of Togo is",
        values=[1.0, 40.0], seeds=2, new_tokens=4, controls=1, temperature=1.5,
    )  # fmt: skip
    return ask_favourites(PromptRunner(loaded.decoder), loaded.tokenizer, index, settings, seed)[0]


def test_edits_are_measured_on_the_concepts_own_tokens(edits: pd.DataFrame) -> None:
    found = edits.set_index(["concept", "rows", "prompt"])["probability"]
    assert found["Paris", 0, FRANCE] > 0.9
    assert found["Paris", 0, TOGO] == pytest.approx(2 / 3, abs=0.15)
    assert found["Rome", 0, ITALY] > 0.9
    for other in (("Rome", 0, FRANCE), ("Rome", 0, TOGO), ("Paris", 0, ITALY)):
        assert found[other] < 0.05


def test_sampled_answers_follow_the_seed_and_greedy_ones_do_not(
    loaded: LoadedModel, index: ConceptIndex
) -> None:
    first, again, other = (favourites(loaded, index, seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    same = first["condition"] != "control"
    greedy = same & (first["sample"] == 0)
    sampled = same & (first["sample"] > 0)
    assert first.loc[greedy, "answer"].tolist() == other.loc[greedy, "answer"].tolist()
    assert first.loc[sampled, "answer"].tolist() != other.loc[sampled, "answer"].tolist()
    # Questions and samples have draws of their own.
    clean = first[(first["condition"] == "clean") & (first["sample"] > 0)]
    assert clean.groupby("question")["answer"].nunique().max() == 2


def test_no_column_is_constant_where_it_should_vary(
    edits: pd.DataFrame, clamps: pd.DataFrame, loaded: LoadedModel, index: ConceptIndex
) -> None:
    tables = {"edits": edits, "clamping": clamps, "favourite": favourites(loaded, index, 0)}
    assert unexplained(tables, CONSTANT) == {"constant": [], "varies": []}
