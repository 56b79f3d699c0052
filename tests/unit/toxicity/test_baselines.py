"""First answer tokens and token probes, each against a slow or closed form of itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.config.models import Chat
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.prompts import chat_ids, raw_ids
from llm_anatomy.model.run.tokenizer import TextTokenizer
from llm_anatomy.toxicity import token_probes
from llm_anatomy.toxicity.asking import asked_texts, read_prompts
from llm_anatomy.toxicity.first_token import SparseRecipe, answer_features, sparse_fits
from llm_anatomy.toxicity.token_probes import (
    PooledRecipe,
    Probe,
    Tokens,
    TokenStates,
    probe_fits,
)
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tokenizers import processors

from tests.tiny import tiny_model, tiny_tokenizer

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TEXTS = [
    "You are a fool",
    "Bread",
    "The lake is calm and the city sleeps",
    "\nHello",
    "x",
    "The end",
]


def loaded(family: str, chat: bool) -> LoadedModel:
    tokenizer = tiny_tokenizer()
    if chat:
        tokenizer.chat_template = TEMPLATE
    return LoadedModel(resolve(tiny_model(family)), TextTokenizer.of(tokenizer), {})


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "falcon_alibi", "qwen3"])
def test_a_prompt_read_behind_a_remembered_beginning_equals_one_read_whole(
    family: str, chat: bool
) -> None:
    model = loaded(family, chat)
    decoder, settings_ = model.decoder, Chat()
    read = read_prompts(model, TEXTS, settings_, 6, 1, 32)
    start = 0
    for row, prompt in enumerate(asked_texts(model.tokenizer, TEXTS, settings_, 6)):
        ids = prompt.before + prompt.text + prompt.behind
        with torch.no_grad():
            whole = decoder.model(
                input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False
            )
        assert np.allclose(read.logits[row], whole.logits[0, -1].numpy(), atol=1e-4)
        own = slice(len(prompt.before), len(prompt.before) + len(prompt.text))
        expected = whole.hidden_states[2][0, own].numpy()
        found = read.states[start : start + len(expected)]
        assert np.allclose(found, expected, atol=1e-4)
        start += len(expected)
    assert start == len(read.states) == read.lengths.sum()
    assert read.cut == [len(raw_ids(model.tokenizer, text)) > 6 for text in TEXTS]


def test_a_text_stands_in_the_template_and_only_its_own_tokens_are_cut() -> None:
    tokenizer = loaded("llama", True).tokenizer
    whole = asked_texts(tokenizer, TEXTS, Chat(), 100)
    for text, prompt in zip(TEXTS, whole, strict=True):
        ids = prompt.before + prompt.text + prompt.behind
        assert ids == chat_ids(tokenizer, text, Chat())
        assert text.strip() in tokenizer.decode(prompt.text)
        assert "user" not in tokenizer.decode(prompt.text)
        assert not prompt.cut
    short = asked_texts(tokenizer, TEXTS, Chat(), 3)
    for prompt, entire in zip(short, whole, strict=True):
        assert (prompt.before, prompt.behind) == (entire.before, entire.behind)
        assert prompt.text == entire.text[:3]
        assert prompt.cut == (len(entire.text) > 3)


def test_the_token_that_begins_every_text_is_no_token_of_a_text() -> None:
    """Without a template a maximum over states would read the beginning's, whatever the text."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", 0)]
    )
    begun = TextTokenizer.of(tokenizer)
    for text, prompt in zip(TEXTS, asked_texts(begun, TEXTS, Chat(), 4), strict=True):
        ids = raw_ids(begun, text)
        assert ids[0] == tokenizer.bos_token_id
        assert (prompt.before, prompt.text) == (ids[:1], ids[1:5])
        assert prompt.cut == (len(ids) > 5)
    # Of a text without any token the beginning is all there is to read.
    (nothing,) = asked_texts(begun, [""], Chat(), 4)
    assert (nothing.before, nothing.text) == ([], [tokenizer.bos_token_id])


def test_features_of_the_first_token_ignore_a_constant_and_survive_certainty() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    features = answer_features(logits)
    p = np.exp(log_softmax(logits.astype(float), axis=1))
    assert np.allclose(features, np.log(p) - np.log1p(-p), atol=1e-5)
    assert np.allclose(features, answer_features(logits + 100.0), atol=1e-4)
    logits[:, 3] = 80.0
    sure = answer_features(logits)
    assert np.isfinite(sure).all()
    assert (sure[:, 3] > 70).all()


def sparse_data(n: int = 120, width: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, width)) + 0.7 * rng.normal(size=(n, 1))
    y = x[:, 5] - x[:, 17] + 0.5 * rng.normal(size=n) > 0.8
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), y


def test_the_sparse_path_equals_the_solver_on_all_features() -> None:
    x, y = sparse_data()
    shares = [0.6, 0.3, 0.1]
    balance = len(y) / (2 * np.where(y, y.sum(), (~y).sum()))
    largest = np.abs(((0.5 - y) * balance) @ x).max()
    found = sparse_fits(x, y, shares, 5000, 0)
    for share, fit in zip(shares, found, strict=True):
        model = LogisticRegression(
            C=1 / (share * largest), l1_ratio=1.0, solver="liblinear", tol=1e-8, max_iter=50000
        ).fit(x.astype(float), y, sample_weight=balance)
        assert np.allclose(fit.weights, model.coef_[0], atol=5e-3)
        assert np.allclose(fit.intercept, model.intercept_, atol=5e-3)
        # The condition of the optimum, on every feature.
        residual = (expit(x @ fit.weights + fit.intercept) - y) * balance
        assert (np.abs(residual @ x) <= share * largest * 1.02).all()
    counts = [np.count_nonzero(fit.weights) for fit in found]
    assert 0 < counts[0] < counts[1] < counts[2] < 150
    assert {5, 17} <= set(np.flatnonzero(found[1].weights))


def test_a_sparse_recipe_scores_in_the_order_of_its_values() -> None:
    x, y = sparse_data()
    recipe = SparseRecipe((0.1, 0.6), 1000)
    one = recipe.path(x, y, x, [0.1, 0.6], 0)
    other = recipe.path(x, y, x, [0.6, 0.1], 0)
    assert np.allclose(one, other[::-1], atol=1e-3)
    assert roc_auc_score(y, one[0]) > roc_auc_score(y, one[1])


def tokens(lengths: list[int], width: int = 6, seed: int = 0) -> Tokens:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(sum(lengths), width)).astype(np.float32)
    return Tokens(states, np.array(lengths))


def probe(pooling: str, width: int = 6, query: float = 1.0) -> Probe:
    rng = np.random.default_rng(9)
    value, asked = rng.normal(size=(2, width)).astype(np.float32)
    return Probe(value, query * asked, np.array([0.3]), pooling)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.sampled_from(["attention", "max"]),
    st.floats(0, 60),
)
def test_a_running_score_equals_scoring_every_prefix(
    lengths: list[int], pooling: str, query: float
) -> None:
    found, own = tokens(lengths), probe(pooling, query=query)
    whole = own.score(found)
    for start, length, score in zip(found.starts, lengths, whole, strict=True):
        states = found.states[start : start + length]
        running = own.running(states)
        for end in range(1, length + 1):
            alone = own.score(Tokens(states[:end], np.array([end])))[0]
            assert running[end - 1] == pytest.approx(alone, abs=1e-5)
        assert running[-1] == pytest.approx(score, abs=1e-5)


def test_attention_without_a_query_is_the_mean_and_max_ignores_low_tokens() -> None:
    found = tokens([4, 7])
    flat = probe("attention", query=0.0)
    means = np.stack([found.states[:4].mean(0), found.states[4:].mean(0)])
    assert np.allclose(flat.score(found), expit(means @ flat.value + 0.3), atol=1e-6)
    top = probe("max")
    low = -100 * np.tile(top.value / np.linalg.norm(top.value), (3, 1))
    longer = Tokens(np.concatenate([found.states, low]).astype(np.float32), np.array([4, 10]))
    assert np.allclose(top.score(longer), top.score(found))
    assert flat.score(longer)[1] < flat.score(found)[1]


@pytest.mark.parametrize("pooling", ["attention", "max"])
def test_probes_are_trained_down_the_slope_of_their_loss(pooling: str) -> None:
    """One step from zero is a step of one rate against the sign of the numerical slope."""
    found, y = tokens([3, 5, 2, 4]), np.array([True, False, True, False])
    step = probe_fits(found, y, pooling, [0.0], 1)[0]

    def loss(value: np.ndarray) -> float:
        p = Probe(value, np.zeros(6), np.zeros(1), pooling).score(found)
        return float(-np.log(np.where(y, p, 1 - p)).mean())

    if pooling == "attention":
        for index in range(6):
            nudge = 1e-4 * np.eye(6)[index]
            slope = (loss(nudge) - loss(-nudge)) / 2e-4
            assert np.sign(step.value[index]) == -np.sign(slope)
    losses = [loss(probe_fits(found, y, pooling, [0.0], n)[0].value) for n in (1, 20, 200)]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("pooling", ["attention", "max"])
def test_a_probe_finds_one_telling_token_in_a_long_text(pooling: str) -> None:
    """A few tokens of every text are loud both ways; the label is on one token in sixty."""
    rng = np.random.default_rng(4)
    n, length, width = 160, 60, 8
    states = rng.normal(size=(n, length, width)).astype(np.float32)
    y = rng.random(n) < 0.5
    states[np.arange(n), rng.integers(length, size=n), 2] += 6 * y
    everything = TokenStates("made", Tokens(states.reshape(-1, width), np.full(n, length)))
    train, test = np.arange(100), np.arange(100, n)
    x, held_out = everything.split(train, test)
    recipe = PooledRecipe(pooling, (0.0,), 300)
    found = recipe.path(x, y[train], held_out, [0.0], 0)[0]
    mean = LogisticRegression().fit(states[train].mean(1), y[train])
    of_mean = roc_auc_score(y[test], mean.predict_proba(states[test].mean(1))[:, 1])
    assert roc_auc_score(y[test], found) > max(0.95, of_mean)


def test_several_penalties_in_one_pass_are_several_fits() -> None:
    found, y = tokens([3, 5, 2, 4, 6, 1]), np.array([True, False, True, False, True, False])
    for pooling in ("attention", "max"):
        together = probe_fits(found, y, pooling, [0.01, 1.0], 30)
        for penalty, fit in zip([0.01, 1.0], together, strict=True):
            alone = probe_fits(found, y, pooling, [penalty], 30)[0]
            assert np.allclose(alone.value, fit.value, atol=1e-5)
            assert np.allclose(alone.query, fit.query, atol=1e-5)
        assert np.linalg.norm(together[1].value) < np.linalg.norm(together[0].value)


def test_steps_of_the_probes_are_adams() -> None:
    generator = torch.Generator().manual_seed(0)
    slopes = torch.randn(20, 3, generator=generator, dtype=torch.float64) * torch.tensor([1, 10, 0])
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weights], lr=3e-3, betas=(0.9, 0.999), eps=1e-8)
    moments, own = token_probes._Moments((3,)), np.zeros(3)
    for number, slope in enumerate(slopes, start=1):
        weights.grad = slope
        adam.step()
        own = own - moments.step(slope.numpy(), number)
        np.testing.assert_allclose(own, weights.detach().numpy(), rtol=1e-9, atol=1e-15)
