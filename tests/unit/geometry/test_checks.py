"""The theory's statements hold where they must, and the checks notice where they do not."""

import math
from itertools import product

import pytest
import torch
from llm_anatomy.geometry.hull import check_hull, numerical_rank
from llm_anatomy.geometry.last_token import read_last_token
from llm_anatomy.geometry.partition import arrangement_regions_log10, segment_regions
from llm_anatomy.geometry.regions import dense_mlp, mlp_output, towards_boundary
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.hooks import first_tensor, hooked

from tests.tiny import tiny_model

IDS = [5, 80, 17, 33, 210, 9]


def mlp_at_last_token(decoder: Decoder, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    block, seen = decoder.blocks[layer], {}
    hooks = {block.down.module: lambda m, a, o: seen.update(output=first_tensor(o))}
    pre = {block.preactivation.module: lambda m, a, k: seen.update(input=a[0])}
    with torch.no_grad(), hooked(forward=hooks, pre=pre):
        decoder.body(input_ids=torch.tensor([IDS]), use_cache=False)
    flat = [seen[name].reshape(-1, decoder.d_model)[-1:].double() for name in ("input", "output")]
    return flat[0], flat[1]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma", "opt", "bloom", "falcon"])
def test_attention_output_is_the_weighted_sum_of_projected_values(family: str) -> None:
    decoder = resolve(tiny_model(family))
    for check in read_last_token(decoder, IDS, 0.1).hulls.values():
        assert check.hull_error < 1e-5
        assert check.weight_sum_error < 1e-5
        assert check.rank <= check.count == decoder.blocks[0].n_heads * len(IDS)
        assert check.largest_head_rank <= min(len(IDS), decoder.blocks[0].head_dim)
        assert check.relative_count <= check.count


def test_wrong_attention_weights_are_noticed() -> None:
    decoder = resolve(tiny_model("llama"))
    block = decoder.blocks[0]
    values = torch.randn(block.n_kv_heads, 4, block.head_dim)
    weights = torch.full((block.n_heads, 4), 0.25)
    output = torch.randn(decoder.d_model)
    assert check_hull(block, weights, values, output, 0.1).hull_error > 0.1


def test_the_soft_dimension_keeps_the_tokens_with_a_tenth_of_a_heads_largest_attention() -> None:
    block = resolve(tiny_model("llama", dtype=torch.float64)).blocks[0]
    generator = torch.Generator().manual_seed(0)
    shape = (block.n_kv_heads, 3, block.head_dim)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    weights = torch.tensor([[0.75, 0.2, 0.05]], dtype=torch.float64).expand(block.n_heads, 3)
    # The output as if nothing else had been attended to, written out head by head.
    kept = torch.tensor([0.75 / 0.95, 0.2 / 0.95, 0.0], dtype=torch.float64)
    heads = [kept @ values[h * block.n_kv_heads // block.n_heads] for h in range(block.n_heads)]
    output = block.o.weight(torch.float64) @ torch.cat(heads)
    check = check_hull(block, weights, values, output, 0.1)
    assert check.relative_error < 1e-12
    assert (check.relative_count, check.count) == (2 * block.n_heads, 3 * block.n_heads)
    assert check.weight_sum_error < 1e-12
    assert check.hull_error > 0.01


def test_numerical_rank_counts_directions_not_points() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(3, 20, generator=generator, dtype=torch.float64)
    for n_points in (5, 50):
        points = torch.randn(n_points, 3, generator=generator, dtype=torch.float64) @ basis
        assert numerical_rank(points.float().double()) == 3


@pytest.mark.parametrize("family", ["opt", "gpt2", "gpt_neox", "llama"])
def test_a_relu_mlp_is_the_map_of_its_region(family: str) -> None:
    changes = {
        "opt": {"activation_function": "relu"},
        "gpt2": {"activation_function": "relu"},
    }.get(family, {"hidden_act": "relu"})
    decoder = resolve(tiny_model(family, dtype=torch.float64, **changes))
    for layer in range(decoder.n_layers):
        inputs, outputs = mlp_at_last_token(decoder, layer)
        block = decoder.blocks[layer]
        mlp = dense_mlp(block)
        code = mlp.preactivations(inputs) > 0
        torch.testing.assert_close(mlp.region_map(inputs, code), outputs, rtol=1e-10, atol=1e-12)
        inside = towards_boundary(mlp, inputs, 0.999)
        expected = mlp_output(block, inside, block.activation, decoder.dtype)
        torch.testing.assert_close(mlp.region_map(inside, code), expected, rtol=1e-10, atol=1e-12)
        outside = towards_boundary(mlp, inputs, 1.5)
        assert not torch.equal(mlp.preactivations(outside) > 0, code)


def test_the_nearest_boundary_is_crossed_first() -> None:
    model = tiny_model("gpt2", dtype=torch.float64, activation_function="relu")
    # Whatever the length of the units' weight vectors.
    for scale in (1.0, 0.1):
        model.transformer.h[0].mlp.c_fc.weight.mul_(scale)
        mlp = dense_mlp(resolve(model).blocks[0])
        inputs = torch.randn(20, 32, generator=torch.Generator().manual_seed(0)).double()
        before = mlp.preactivations(inputs) > 0
        for share, crossed in ((0.999, 0), (1.001, 1)):
            after = mlp.preactivations(towards_boundary(mlp, inputs, share)) > 0
            assert (after != before).sum(1).tolist() == [crossed] * 20


def test_an_ungated_region_map_is_affine() -> None:
    decoder = resolve(tiny_model("gpt2", activation_function="relu"))
    mlp = dense_mlp(decoder.blocks[0])
    a, b = torch.randn(2, 1, decoder.d_model, dtype=torch.float64)
    code = mlp.preactivations(a) > 0
    middle = mlp.region_map((a + b) / 2, code)
    torch.testing.assert_close(middle, (mlp.region_map(a, code) + mlp.region_map(b, code)) / 2)


def test_a_smooth_activation_leaves_an_error() -> None:
    decoder = resolve(tiny_model("llama"))
    inputs, outputs = mlp_at_last_token(decoder, 0)
    mlp = dense_mlp(decoder.blocks[0])
    again = mlp_output(decoder.blocks[0], inputs, decoder.blocks[0].activation, decoder.dtype)
    torch.testing.assert_close(again, outputs, rtol=1e-4, atol=1e-5)
    rebuilt = mlp.region_map(inputs, mlp.preactivations(inputs) > 0)
    assert (rebuilt - outputs).norm() > 1e-3 * outputs.norm()


def test_regions_on_a_line_are_counted_by_walking_along_it() -> None:
    generator = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(7, 2, generator=generator), torch.randn(7, generator=generator)
    start, end = torch.randn(2, 2, generator=generator) * 3
    codes = {
        tuple((weight @ (start + t * (end - start)) + bias > 0).tolist())
        for t in torch.linspace(0, 1, 20_001)
    }
    assert segment_regions(weight @ start + bias, weight @ end + bias) == len(codes)


def test_arrangement_bound_is_the_sum_of_binomials() -> None:
    for hyperplanes, dimension in product((1, 5, 9), (0, 2, 9, 12)):
        expected = sum(math.comb(hyperplanes, k) for k in range(dimension + 1))
        assert arrangement_regions_log10(hyperplanes, dimension) == pytest.approx(
            math.log10(expected)
        )
