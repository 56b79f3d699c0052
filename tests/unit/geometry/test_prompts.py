"""Prompts have the prefixes and lengths they claim; answers are greedy; scorers can tell."""

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.geometry import PromptCategory, PromptDimension
from llm_anatomy.config.models import Chat
from llm_anatomy.data.duplicates import find_copies, kept_together
from llm_anatomy.geometry.correlation import correlate
from llm_anatomy.geometry.outcomes import train_scorer
from llm_anatomy.geometry.prompts import build_prompts, prompts_of
from llm_anatomy.model.run.prompts import chat_ids, raw_ids
from llm_anatomy.statistics.folds import stratified_splits
from llm_anatomy.statistics.random import Purpose
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from tests.tiny import tiny_tokenizer

CATEGORY = PromptCategory(
    name="boat", request="Sell the boat.", related=["It is old.", "It leaks."]
)
UNRELATED = ["The city is Rome.", "Snow fell.", "Dogs bark."]
CONDITIONS = ["none", "unrelated", "related", "length_matched", "shuffled", "random"]


def test_every_condition_has_its_steps_and_ends_with_the_request() -> None:
    prompts = build_prompts([CATEGORY], UNRELATED, CONDITIONS, tiny_tokenizer(), seed=0)
    counts = pd.Series([prompt.condition for prompt in prompts]).value_counts()
    assert counts.to_dict() == {
        "none": 1, "unrelated": 3, "related": 2, "length_matched": 2, "shuffled": 2, "random": 2,
    }  # fmt: skip
    assert all(prompt.text.endswith("Sell the boat.") for prompt in prompts)
    texts = {(p.condition, p.step): p.text for p in prompts}
    assert texts["none", 0] == "Sell the boat."
    assert texts["related", 2] == "It is old. It leaks. Sell the boat."
    assert texts["unrelated", 2] == "The city is Rome. Snow fell. Sell the boat."


def test_controls_are_as_long_as_the_related_prefix() -> None:
    tokenizer = tiny_tokenizer()
    prompts = build_prompts([CATEGORY], UNRELATED, CONDITIONS, tokenizer, seed=1)
    lengths = {
        (p.condition, p.step): len(tokenizer(p.prefix, add_special_tokens=False)["input_ids"])
        for p in prompts
    }
    for step in (1, 2):
        for control in ("length_matched", "shuffled", "random"):
            # Tokens may merge or lose an outer space when they are written as text.
            difference = lengths[control, step] - lengths["related", step]
            assert -3 <= difference <= 0, (control, step, difference)
        assert lengths["random", step] == lengths["related", step]
    related = {p.step: p.prefix for p in prompts if p.condition == "related"}
    shuffled = {p.step: p.prefix for p in prompts if p.condition == "shuffled"}
    assert sorted(shuffled[2].replace(" ", "")) == sorted(related[2].replace(" ", ""))
    assert shuffled[2] != related[2]


def test_the_same_seed_gives_the_same_prompts() -> None:
    first, again, other = (
        build_prompts([CATEGORY], UNRELATED, ["random"], tiny_tokenizer(), seed)
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_chat_format_uses_the_models_template() -> None:
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(chat_ids(tokenizer, "Hi", Chat())) == "user: Hi\nassistant:"
    assert tokenizer.decode(raw_ids(tokenizer, "Hi")) == "Hi"


def test_a_scorer_separates_what_it_was_trained_on() -> None:
    rng = np.random.default_rng(0)
    words = {True: ["sorry", "cannot", "help"], False: ["sure", "here", "gladly"]}
    labels = np.array([bool(i % 2) for i in range(40)])
    texts = [" ".join(rng.choice([*words[label], "the", "a"], 8)) for label in labels.tolist()]
    scorer = train_scorer(texts, labels, seed=0)
    assert scorer.roc_auc > 0.95
    refused, granted = scorer.scores(["sorry I cannot help", "sure here gladly"])
    assert refused > scorer.threshold > granted


def test_a_scorer_does_not_learn_from_noise() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["an", "be", "cat", "do"], 12)) for _ in range(60)]
    scorer = train_scorer(texts, rng.permutation(np.arange(60) % 2 == 0), seed=0)
    assert 0.25 < scorer.roc_auc < 0.75


def test_a_scorer_is_measured_inside_its_folds() -> None:
    """Each of its five classifiers by itself, not their scores together."""
    rng = np.random.default_rng(3)
    words = {True: ["sorry", "cannot", "the", "a"], False: ["sure", "gladly", "the", "a"]}
    labels = np.arange(43) % 3 == 0
    texts = [" ".join(rng.choice(words[label], 3)) for label in labels.tolist()]
    scorer = train_scorer(texts, labels, seed=0)
    areas, pairs = [], []
    together = kept_together(len(texts), find_copies(texts, 0.8))
    for train, test in stratified_splits(labels, together, 5, 0, Purpose.SCORER_FOLDS):
        fitted = clone(scorer.pipeline).fit([texts[i] for i in train], labels[train])
        scores = fitted.predict_proba([texts[i] for i in test])[:, 1]
        areas.append(roc_auc_score(labels[test], scores))
        pairs.append(labels[test].sum() * (~labels[test]).sum())
    assert scorer.roc_auc == pytest.approx(np.average(areas, weights=pairs))


@pytest.mark.parametrize("link", ["copies", "groups"])
def test_a_scorer_is_not_measured_on_copies_of_what_it_learned(link: str) -> None:
    """Labels by chance, four texts to each: who has seen one of the four knows the others."""
    rng = np.random.default_rng(0)
    stems = [" ".join("".join(rng.choice([*"abcdefgh"], 6)) for _ in range(30)) for _ in range(40)]
    labels = np.repeat(rng.permutation(np.arange(40) % 2 == 0), 4)
    if link == "copies":
        texts = [f"{stem} {'!' * n}" for stem in stems for n in range(4)]
        scorer = train_scorer(texts, labels, seed=0)
    else:
        # Of one author: words of their own in texts that are no copies.
        texts = [" ".join(rng.choice(stem.split(), 6)) for stem in stems for _ in range(4)]
        known = train_scorer(texts, labels, seed=0)
        assert known.roc_auc > 0.9
        groups = [f"author {number}" for number in range(40) for _ in range(4)]
        scorer = train_scorer(texts, labels, 0, groups)
    assert 0.3 < scorer.roc_auc < 0.7


def test_a_scorer_counts_copies_once() -> None:
    texts = [f"text {n % 4} of a kind, said again" for n in range(40)]
    with pytest.raises(ValueError, match="2 texts of one class, copies and groups counted once"):
        train_scorer(texts, np.arange(40) % 4 < 2, seed=0)


def test_a_scorer_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="2 texts of one class"):
        train_scorer([letter * 9 for letter in "abcdefghij"], np.arange(10) < 2, seed=0)


def test_partial_correlation_leaves_out_what_length_explains() -> None:
    rng = np.random.default_rng(0)
    length = np.arange(40.0)
    only_length = correlate(length + rng.normal(0, 3, 40), length + rng.normal(0, 3, 40), length)
    assert only_length.pearson is not None
    assert only_length.partial is not None
    assert only_length.pearson > 0.9
    assert abs(only_length.partial) < 0.4
    topic = np.arange(40) % 2.0
    linked = correlate(length + 5 * topic, topic, length)
    assert linked.partial == pytest.approx(1.0, abs=1e-6)
    assert correlate(length, np.ones(40), length).pearson is None
    assert correlate(length, length, length).partial is None


def test_prompts_come_from_the_users_table() -> None:
    rows = [
        ("boat", "request", "Sell it."),
        ("car", "related", "It is red."),
        ("boat", "related", "It is old."),
        (None, "unrelated", "It rains."),
        ("car", "request", "Buy it."),
        ("boat", "related", "It leaks."),
    ]
    table = pd.DataFrame(rows, columns=["category", "role", "text"])
    categories, unrelated = prompts_of(PromptDimension(), table)
    assert [category.name for category in categories] == ["boat", "car"]
    assert [category.request for category in categories] == ["Sell it.", "Buy it."]
    assert categories[0].related == ["It is old.", "It leaks."]
    assert unrelated == ["It rains."]
    settings = PromptDimension()
    assert prompts_of(settings) == (settings.categories, settings.unrelated)
