"""What must hold for any model: limits in which a manipulation does nothing, or something known."""

import pytest
import torch
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.patching.clean import clean_run
from llm_anatomy.patching.fast import sweep_edit, sweep_freeze, sweep_skip
from llm_anatomy.patching.manipulations import Positions, RandomEdit, SwitchEdit
from torch import Tensor

from tests.unit.patching.tools import TOLERANCE, names, prompts, replay_of

pytestmark = pytest.mark.usefixtures("no_grad")

FAMILIES = ("llama", "gpt2", "gpt_neox", "qwen2", "gemma")


def same(replay: Replay, actual: Tensor, expected: Tensor) -> None:
    logits = unembedding_of(replay.decoder).logits
    torch.testing.assert_close(logits(actual), logits(expected), rtol=TOLERANCE, atol=TOLERANCE)


def check_invariants(replay: Replay, tokens: Tensor, donors: Tensor, place: int) -> None:
    """`tokens` and `donors` are equal but for the token at `place`."""
    layers = tuple(range(replay.decoder.n_layers))
    clean, edited = clean_run(replay, tokens), clean_run(replay, donors)
    rows = len(tokens)
    frozen = sweep_freeze(replay, clean, layers, Positions()).final
    same(replay, frozen[-rows:], clean.final())
    last_alone = tokens.clone()
    last_alone[:, :-1] = donors[:, :-1].flip(1)
    skipped = sweep_skip(replay, clean, (0,), None).final
    same(replay, skipped, sweep_skip(replay, clean_run(replay, last_alone), (0,), None).final)
    itself = torch.stack(clean.states[:-1])[:, :, place : place + 1]
    same(
        replay,
        sweep_edit(replay, clean, layers, SwitchEdit(itself, place)).final,
        clean.final().repeat(len(layers), 1),
    )
    other = torch.stack(edited.states[:-1])[:, :, place : place + 1]
    switched = sweep_edit(replay, clean, (0,), SwitchEdit(other, place)).final
    same(replay, switched, edited.final())
    turned = RandomEdit("angle", 0, names(rows), Positions(), degrees=0.0)
    same(
        replay,
        sweep_edit(replay, clean, layers, turned).final,
        clean.final().repeat(len(layers), 1),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_models(family: str) -> None:
    tokens = prompts(2, 9)
    donors = tokens.clone()
    donors[:, 4] = prompts(2, 9, seed=1)[:, 4]
    check_invariants(replay_of(family), tokens, donors, 4)


@pytest.mark.parametrize("kind", ["noise", "shuffle", "angle"])
def test_norms_are_kept_and_the_rest_is_left_alone(kind: str) -> None:
    states = torch.randn(3, 8, 40, generator=torch.Generator().manual_seed(0)) * 7
    edit = RandomEdit(kind, 0, names(3), Positions(keep_first=True), degrees=60.0)
    edited = edit(2, states, 0)
    assert torch.equal(edited[:, 0], states[:, 0])
    torch.testing.assert_close(edited.norm(dim=-1), states.norm(dim=-1))
    changed = (edited != states).any(-1)
    assert changed[:, 1:].all()
    if kind == "shuffle":
        assert torch.equal(edited.sort(-1).values, states.sort(-1).values)
    if kind == "angle":
        cosine = torch.cosine_similarity(edited[:, 1:], states[:, 1:], dim=-1)
        torch.testing.assert_close(cosine, torch.full_like(cosine, 0.5), atol=1e-5, rtol=0)


def test_a_draw_depends_on_its_key_and_on_nothing_else() -> None:
    states = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    both = RandomEdit("noise", 0, ("a", "b"), Positions())
    alone = RandomEdit("noise", 0, ("b",), Positions())
    torch.manual_seed(1)
    first = both(3, states, 0)
    state = torch.get_rng_state()
    # Another batch, and a window that begins at position 2.
    assert torch.equal(alone(3, states[1:, 2:], 2), first[1:, 2:])
    assert torch.equal(torch.get_rng_state(), state)
    for other in (
        RandomEdit("noise", 1, ("a", "b"), Positions())(3, states, 0),
        both(4, states, 0),
        RandomEdit("noise", 0, ("c", "d"), Positions())(3, states, 0),
    ):
        assert (other != first).any(-1).all()
    # No two positions or examples draw the same.
    unit = first.flatten(0, 1) / first.flatten(0, 1).norm(dim=-1, keepdim=True)
    assert (unit @ unit.T - torch.eye(12)).abs().max() < 0.999
