"""What a card multiplies in bfloat16 parts, against float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.neurons.products import SplitHead, bfloat16_parts
from llm_anatomy.neurons.scan import BLOCK, best_blocks, best_inside


def stored(kind: str, values: torch.Tensor) -> torch.Tensor:
    return values.to({"bfloat16": torch.bfloat16, "float32": torch.float32}[kind]).float()


@pytest.mark.parametrize("head_kind", ["bfloat16", "float32"])
@pytest.mark.parametrize("vector_kind", ["bfloat16", "float32"])
@pytest.mark.parametrize("vocab", [5, BLOCK, 200])
def test_parts_multiply_within_the_stated_tolerance(head_kind, vector_kind, vocab):
    generator = torch.Generator().manual_seed(vocab)
    head = stored(head_kind, torch.randn(vocab, 40, generator=generator))
    vectors = stored(vector_kind, torch.randn(9, 40, generator=generator))
    split = SplitHead(head)
    logits = torch.full((9, split.columns), torch.nan)
    split.multiply(vectors, logits)
    exact = vectors.double() @ head.double().T
    terms = vectors.double().abs() @ head.double().abs().T
    bound = terms * (2**-20 if head_kind == vector_kind == "bfloat16" else 2**-14)
    assert ((logits[:, :vocab] - exact).abs() <= bound).all()
    assert (logits[:, vocab:] == 0).all()
    # One part alone would be off by far more.
    coarse = vectors.bfloat16().double() @ head.bfloat16().double().T
    if "float32" in (head_kind, vector_kind):
        assert (coarse - exact).abs().max() > 30 * (logits[:, :vocab] - exact).abs().max()


@pytest.mark.parametrize(("dtype", "parts"), [(torch.bfloat16, 1), (torch.float16, 2)])
def test_half_precision_weights_are_split_without_a_rest(dtype, parts):
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype).float()
    split = bfloat16_parts(values)
    assert len(split) == parts
    assert torch.equal(sum(part.float() for part in split), values)


@settings(max_examples=100, deadline=None)
@given(
    vocab=st.integers(2, 700),
    count=st.integers(1, 6),
    levels=st.sampled_from([1, 2, 5, 1000]),
    largest=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_best_blocks_hold_the_first_of_equal_logits(vocab, count, levels, largest, seed):
    generator = torch.Generator().manual_seed(seed)
    # Few levels make many ties; -0 and 0 are one of them.
    logits = torch.randint(-levels, levels + 1, (3, vocab), generator=generator) / 7
    logits = torch.where(logits == 0, torch.tensor([0.0, -0.0])[torch.arange(vocab) % 2], logits)
    count = min(count, vocab)
    columns = -(-vocab // BLOCK) * BLOCK
    past = -torch.inf if largest else torch.inf
    filled = torch.nn.functional.pad(logits, (0, columns - vocab), value=past)
    in_blocks = filled.view(3, -1, BLOCK)
    extremes = in_blocks.amax(2) if largest else in_blocks.amin(2)
    blocks = best_blocks(extremes, count, largest)
    # What fills the last block must not matter.
    inside = torch.nn.functional.pad(logits, (0, columns - vocab), value=-past).view(3, -1, BLOCK)
    chosen = inside.take_along_dim(blocks[:, :, None], 1)
    tokens, values = best_inside(chosen, blocks, vocab, count, largest)
    for row in range(3):
        numbers = logits[row].tolist()
        order = sorted(range(vocab), key=lambda t: (-numbers[t] if largest else numbers[t], t))
        assert tokens[row].tolist() == order[:count]
        np.testing.assert_array_equal(values[row], logits[row, order[:count]])
