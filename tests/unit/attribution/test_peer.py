"""Attribution patching as a peer would write it: plain hooks and autograd on transformers' model.

Nothing of the package computes anything here but what is compared: where a family keeps its
projections, what a neuron is, and which tensor is differentiated are written out once more.
"""

import pytest
import torch
from llm_anatomy.attribution.methods import UnitScoring, helpfulness
from llm_anatomy.attribution.pairs import FactPair
from llm_anatomy.attribution.sites import all_units
from llm_anatomy.model.parts.resolve import resolve
from torch import Tensor, nn

from tests.tiny import tiny_model

PAIR = FactPair("a", "b", (5, 17, 40, 99, 8, 61), (5, 18, 41, 99, 9, 3), 12, 90)
# Where neurons and heads enter the residual stream, by the names of transformers' modules.
DOWN = {
    "llama": "model.layers.{}.mlp.down_proj",
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "gpt_neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    "qwen2": "model.layers.{}.mlp.down_proj",
    "gemma2": "model.layers.{}.mlp.down_proj",
}
OUT = {
    "llama": "model.layers.{}.self_attn.o_proj",
    "gpt2": "transformer.h.{}.attn.c_proj",
    "gpt_neox": "gpt_neox.layers.{}.attention.dense",
    "qwen2": "model.layers.{}.self_attn.o_proj",
    "gemma2": "model.layers.{}.self_attn.o_proj",
}


def activations(model: nn.Module, names: list[str], tokens: tuple[int, ...]) -> dict[str, Tensor]:
    """What enters the named modules; the tensors of the last call keep their gradients."""
    seen: dict[str, Tensor] = {}
    handles = []
    for name in names:

        def keep(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            seen[name] = args[0]
            if args[0].requires_grad:
                args[0].retain_grad()

        handles.append(model.get_submodule(name).register_forward_pre_hook(keep))
    logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
    for handle in handles:
        handle.remove()
    return seen | {"logits": logits}


def peer(
    model: nn.Module, names: list[str], pair: FactPair, positions: str, contrast: bool
) -> Tensor:
    """(a - a') . dm/da of every entry, layer after layer: what the answer would lose."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    with torch.enable_grad():
        clean = activations(model, names, pair.tokens)
        logits = clean["logits"]
        if contrast:
            metric = logits[pair.answer] - logits[pair.rival]
        else:
            metric = torch.log_softmax(logits, dim=-1)[pair.answer]
        metric.backward()
    with torch.no_grad():
        other = activations(model, names, pair.other_tokens)
    scores = []
    for name in names:
        product = (clean[name].detach() - other[name]) * clean[name].grad
        product = product.reshape(len(pair.tokens), -1)
        scores.append(product[-1] if positions == "last" else product.sum(0))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    return torch.cat(scores).double()


@pytest.mark.parametrize("contrast", [True, False])
@pytest.mark.parametrize("positions", ["last", "all"])
@pytest.mark.parametrize("family", list(DOWN))
def test_a_peers_scores_are_ours(family: str, positions: str, contrast: bool) -> None:
    model = tiny_model(family)
    decoder = resolve(model)
    for kind, names in (("ffn_neuron", DOWN), ("attention_neuron", OUT)):
        modules = [names[family].format(layer) for layer in range(decoder.n_layers)]
        theirs = peer(model, modules, PAIR, positions, contrast)
        units = all_units(decoder, kind)
        (ours,) = helpfulness(
            decoder, [PAIR], units, UnitScoring(positions=positions, contrast=contrast), 512
        )
        assert theirs.abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))
    heads = all_units(decoder, "head")
    (of_heads,) = helpfulness(
        decoder, [PAIR], heads, UnitScoring(positions=positions, contrast=contrast), 512
    )
    summed = theirs.view(len(heads), -1).sum(-1)
    torch.testing.assert_close(of_heads, summed, rtol=1e-5, atol=1e-5 * float(summed.abs().max()))
