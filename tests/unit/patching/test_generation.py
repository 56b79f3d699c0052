"""Cached generation under a manipulation equals full recomputation, token for token."""

import pytest
import torch
from llm_anatomy.patching import reference
from llm_anatomy.patching.clean import clean_run
from llm_anatomy.patching.fast import sweep_edit, sweep_freeze, sweep_skip
from llm_anatomy.patching.generation import Stream, continue_swept
from llm_anatomy.patching.manipulations import Positions, RandomEdit, SwitchEdit

from tests.unit.patching.tools import names, prompts, replay_of

pytestmark = pytest.mark.usefixtures("no_grad")

FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma3", "mistral")
ROWS, LENGTH, STEPS = 2, 7, 5


def never(tokens: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(tokens), dtype=torch.bool)


@pytest.mark.parametrize(
    ("family", "kind", "layers"),
    [(family, "noise", (0, 1, 2, 3)) for family in FAMILIES] + [("llama", "shuffle", (1, 3))],
)
def test_noise(family: str, kind: str, layers: tuple[int, ...]) -> None:
    replay, tokens = replay_of(family), prompts(ROWS, LENGTH)
    clean, edit = clean_run(replay, tokens), RandomEdit(kind, 3, names(ROWS), Positions())
    swept = sweep_edit(replay, clean, layers, edit, keep=True)
    actual = continue_swept(replay, clean, swept, Stream(layers, ROWS, edit=edit), STEPS, never)
    expected = [
        reference.continued(
            lambda t, _, k=k: reference.edited_logits(replay.decoder, t, k, edit), tokens, STEPS
        )
        for k in layers
    ]
    assert torch.equal(actual, torch.cat(expected))


@pytest.mark.parametrize(
    ("family", "keep_first"), [(family, False) for family in FAMILIES] + [("llama", True)]
)
def test_freeze(family: str, keep_first: bool) -> None:
    replay, tokens = replay_of(family), prompts(ROWS, LENGTH)
    clean, positions = clean_run(replay, tokens), Positions(keep_first=keep_first)
    layers = tuple(range(replay.decoder.n_layers))
    swept = sweep_freeze(replay, clean, layers, positions, keep=True)
    actual = continue_swept(replay, clean, swept, Stream(layers, ROWS, frozen=True), STEPS, never)
    expected = [
        reference.continued(
            lambda t, _, k=k: reference.frozen_logits(replay.decoder, t, k, positions),
            tokens,
            STEPS,
        )
        for k in layers
    ]
    assert torch.equal(actual, torch.cat(expected))


@pytest.mark.parametrize(
    ("family", "width"), [(family, None) for family in FAMILIES] + [("llama", 1), ("llama", 2)]
)
def test_skip(family: str, width: int | None) -> None:
    replay, tokens = replay_of(family), prompts(ROWS, LENGTH)
    clean, layers = clean_run(replay, tokens), tuple(range(replay.decoder.n_layers))
    swept = sweep_skip(replay, clean, layers, width, keep=True)
    stream = Stream(layers, ROWS, skip_width=width or len(layers))
    actual = continue_swept(replay, clean, swept, stream, STEPS, never)
    expected = [
        reference.continued(
            lambda t, _, k=k: reference.skipped_logits(replay.decoder, t, k, width), tokens, STEPS
        )
        for k in layers
    ]
    assert torch.equal(actual, torch.cat(expected))


@pytest.mark.parametrize("policy", ["subject", "not_subject"])
def test_positions_that_generated_tokens_belong_to_or_not(policy: str) -> None:
    replay, tokens = replay_of("llama"), prompts(ROWS, LENGTH)
    clean, positions = clean_run(replay, tokens), Positions(policy, (2, 5))
    edit, layers = RandomEdit("noise", 0, names(ROWS), positions), (0, 1, 2, 3)
    swept = sweep_edit(replay, clean, layers, edit, keep=True)
    actual = continue_swept(replay, clean, swept, Stream(layers, ROWS, edit=edit), STEPS, never)
    expected = [
        reference.continued(
            lambda t, _, k=k: reference.edited_logits(replay.decoder, t, k, edit), tokens, STEPS
        )
        for k in layers
    ]
    assert torch.equal(actual, torch.cat(expected))


@pytest.mark.parametrize("family", FAMILIES)
def test_switch_keeps_the_cache_of_the_edited_prompt(family: str) -> None:
    replay, tokens, donors = replay_of(family), prompts(ROWS, LENGTH), prompts(ROWS, 6, seed=1)
    clean, layers = clean_run(replay, tokens), tuple(range(replay.decoder.n_layers))
    edit = SwitchEdit(reference.donor_states(replay.decoder, donors, (1, 3)), 4)
    swept = sweep_edit(replay, clean, layers, edit, keep=True)
    actual = continue_swept(replay, clean, swept, Stream(layers, ROWS), STEPS, never)
    expected = [
        reference.continued(
            lambda t, _, k=k: reference.edited_logits(replay.decoder, t, k, edit), tokens, STEPS
        )
        for k in layers
    ]
    assert torch.equal(actual, torch.cat(expected))


def test_generation_ends_when_every_row_is_finished() -> None:
    replay, tokens = replay_of("llama"), prompts(ROWS, LENGTH)
    clean = clean_run(replay, tokens)
    swept = sweep_skip(replay, clean, (0,), None, keep=True)
    actual = continue_swept(
        replay,
        clean,
        swept,
        Stream((0,), ROWS, skip_width=4),
        STEPS,
        lambda t: torch.full((len(t),), t.shape[1] >= 3),
    )
    assert actual.shape == (ROWS, 3)
