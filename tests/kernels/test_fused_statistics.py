"""Token statistics in one kernel against the formula in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.geometry.partition import partition, token_statistics

pytestmark = pytest.mark.slow


def fused(h: torch.Tensor, weight: torch.Tensor, device: str) -> tuple[np.ndarray, np.ndarray]:
    from llm_anatomy.geometry.fused_statistics import fused_token_statistics

    norms = partition(weight.float()).inverse_norms.to(device)
    active, distance = fused_token_statistics(h.to(device), norms)
    assert active.dtype == distance.dtype == torch.float32
    return active.cpu().numpy(), distance.cpu().numpy()


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 7),
    units=st.integers(1, 4500),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    flat=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_any_shape_and_type_equals_the_formula(
    tokens: int, units: int, dtype: torch.dtype, flat: bool, seed: int, device: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(units, 5, generator=generator)
    h = torch.randn(tokens, units, generator=generator).to(dtype)
    h[:, units // 2] = 0
    if flat and units > 1:
        weight[units // 2] = 0
    active, distance = fused(h, weight, device)
    norms = weight.double().norm(dim=1)
    cut = (h.double().abs() / norms)[:, norms > 0]
    np.testing.assert_allclose(active, (h > 0).double().mean(1), rtol=1e-6)
    np.testing.assert_allclose(distance, cut.amin(1), rtol=1e-5)
    plain = token_statistics(h, partition(weight))
    np.testing.assert_allclose(active, plain[0], rtol=1e-6)
    np.testing.assert_allclose(distance, plain[1], rtol=1e-5)


def test_rows_of_a_wider_tensor_and_columns_of_another_are_read_in_place(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(100, 5, generator=generator)
    wide = torch.randn(6, 250, generator=generator)
    for h in (wide[:, 20:120], torch.randn(100, 6, generator=generator).T):
        active, distance = fused(h, weight, device)
        plain = token_statistics(h.contiguous(), partition(weight))
        np.testing.assert_allclose(active, plain[0], rtol=1e-6)
        np.testing.assert_allclose(distance, plain[1], rtol=1e-6)


def test_what_is_not_a_number_is_not_hidden(device: str) -> None:
    weight, h = torch.randn(3000, 4), torch.randn(3, 3000)
    h[1, 2500], h[2, 7] = torch.nan, torch.inf
    _, distance = fused(h, weight, device)
    assert np.isnan(distance).tolist() == [False, True, False]
