"""Log-probabilities against float64, where float32 `log_softmax` is known to be off."""

import pytest
import torch
from llm_anatomy.model.run.logprobs import (
    Divergence,
    log_normaliser,
    log_probabilities,
    normaliser_change,
    token_log_probability,
    token_rank,
    top_tokens,
)

VOCAB = 49152


def logits_of(rows, seed=0, spread=3.0):
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * spread


def test_normalisers_and_log_probabilities_do_not_carry_the_rounding_of_log_softmax():
    logits, tokens = logits_of(16), torch.arange(16) * 3001
    exact = logits.double().logsumexp(-1)
    assert float((log_normaliser(logits) - exact).abs().max()) < 3e-7
    own = logits.double().gather(1, tokens[:, None])[:, 0] - exact
    assert float((token_log_probability(logits, tokens) - own).abs().max()) < 3e-7
    # Half a step between float32 numbers of this size.
    expected = logits.double() - exact[:, None]
    assert float((log_probabilities(logits) - expected).abs().max()) < 1.1e-6


def test_a_distribution_on_one_token_and_logits_that_no_exp_holds():
    logits = torch.full((2, 5), -1e4)
    logits[0, 2], logits[1] = 1e4, 3e4
    assert log_normaliser(logits).tolist() == pytest.approx([1e4, 3e4 + 1.6094379124341003])
    assert token_log_probability(logits, torch.tensor([2, 0])).tolist() == pytest.approx(
        [0.0, -1.6094379124341003]
    )


def test_equal_logits_share_the_better_rank():
    logits = torch.tensor([[0.5, 2.0, 2.0, 2.0, -1.0]])
    ranks = [int(token_rank(logits, torch.tensor([token]))) for token in range(5)]
    assert ranks == [4, 1, 1, 1, 5]


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.2, 0.9, 1.1, 8.0, 60.0])
def test_the_change_of_a_normaliser_keeps_its_digits_whatever_its_size(size):
    logits, changes = logits_of(1)[0], logits_of(8, seed=1, spread=1.0).clamp(-3, 3) * size / 3
    probabilities = logits.double().softmax(-1)
    exact = (probabilities * changes.double().expm1()).sum(-1).log1p()
    if size > 1:
        exact = (logits.double() + changes.double()).logsumexp(-1) - logits.double().logsumexp(-1)
    found = normaliser_change(changes.clone(), logits, probabilities.float())
    # Relative to the changes, however small beside the logits they are.
    assert float((found - exact).abs().max()) < 1e-6 * size


def test_the_change_of_a_normaliser_when_the_likely_token_is_pushed_out():
    logits = torch.full((VOCAB,), -30.0)
    logits[7] = 0.0
    changes = torch.zeros(2, VOCAB)
    # Nearly all mass is taken away; and more is added than float32 can hold.
    changes[0, 7], changes[1, 9] = -25.0, 120.0
    found = normaliser_change(changes.clone(), logits, logits.softmax(-1))
    exact = (logits.double() + changes.double()).logsumexp(-1) - logits.double().logsumexp(-1)
    assert found.tolist() == pytest.approx(exact.tolist(), rel=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-5, 1e-3, 0.1, 5.0])
def test_divergences_smaller_than_the_rounding_of_log_softmax(size):
    clean = logits_of(2, seed=2)
    # [variants, prompts, vocab], as sweeps have them.
    other = clean + size * logits_of(6, seed=3, spread=1.0).view(3, 2, VOCAB)
    p, q = clean.double().log_softmax(-1), other.double().log_softmax(-1)
    exact = (p.exp() * (p - q)).sum(-1)
    found = Divergence(clean).of(other, log_normaliser(other))
    assert found.shape == (3, 2)
    assert float((found - exact).abs().max()) < 3e-7 + 1e-6 * float(exact.max())
    if size == 0:
        assert found.abs().max() == 0


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("kinds", [1, 2, 5, 1000])
def test_equal_values_come_by_token_id(kinds: int, count: int, largest: bool) -> None:
    generator = torch.Generator().manual_seed(kinds)
    values = torch.randint(kinds, (20, 300), generator=generator).float() - kinds / 2
    found = top_tokens(values, count, largest)
    for row, ids in zip(values.tolist(), found.tolist(), strict=True):
        sign = -1 if largest else 1
        assert ids == sorted(range(300), key=lambda token: (sign * row[token], token))[:count]
