"""Every fast sweep gives the logits of one full forward pass with hooks per layer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.patching import reference
from llm_anatomy.patching.clean import clean_run, shared_prefix
from llm_anatomy.patching.fast import Swept, sweep_edit, sweep_freeze, sweep_skip
from llm_anatomy.patching.manipulations import Positions, RandomEdit, SwitchEdit

from tests.unit.patching.tools import FAMILIES, TOLERANCE, names, prompts, replay_of

pytestmark = pytest.mark.usefixtures("no_grad")

POSITIONS = {
    "previous": Positions(),
    "keep_first": Positions(keep_first=True),
    "subject": Positions("subject", (3, 5)),
    "not_subject": Positions("not_subject", (3, 5)),
    "list": Positions((1, 4, 6)),
}


def assert_equal(replay: Replay, swept: Swept, expected: list[torch.Tensor]) -> None:
    actual = unembedding_of(replay.decoder).logits(swept.final)
    wanted = torch.cat(expected)
    torch.testing.assert_close(actual, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    assert torch.equal(actual.argmax(-1), wanted.argmax(-1))


# Every family with the paper's policy; every policy with two families.
CASES = [(family, "previous") for family in FAMILIES] + [
    (family, policy) for family in ("llama", "gemma3") for policy in list(POSITIONS)[1:]
]


@pytest.mark.parametrize(("family", "policy"), CASES)
@pytest.mark.parametrize("kind", ["noise", "shuffle", "angle"])
def test_edits(family: str, kind: str, policy: str) -> None:
    replay, tokens = replay_of(family), prompts(3, 12)
    layers = range(replay.decoder.n_layers)
    edit = RandomEdit(kind, 5, names(3), POSITIONS[policy], degrees=40.0)
    expected = [reference.edited_logits(replay.decoder, tokens, k, edit) for k in layers]
    assert_equal(replay, sweep_edit(replay, clean_run(replay, tokens), layers, edit), expected)


@pytest.mark.parametrize(("family", "policy"), CASES)
@pytest.mark.parametrize("shared", [0, 6])
def test_freeze(family: str, policy: str, shared: int) -> None:
    replay, tokens = replay_of(family), prompts(3, 12, shared)
    layers, positions = range(replay.decoder.n_layers), POSITIONS[policy]
    expected = [reference.frozen_logits(replay.decoder, tokens, k, positions) for k in layers]
    assert_equal(
        replay, sweep_freeze(replay, clean_run(replay, tokens), layers, positions), expected
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", [None, 2])
def test_skip(family: str, width: int | None) -> None:
    replay, tokens = replay_of(family), prompts(3, 12)
    layers = range(replay.decoder.n_layers)
    expected = [reference.skipped_logits(replay.decoder, tokens, k, width) for k in layers]
    assert_equal(replay, sweep_skip(replay, clean_run(replay, tokens), layers, width), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("start", "span"), [(5, 2), (0, 1), (9, 3)])
def test_switch(family: str, start: int, span: int) -> None:
    replay, tokens, donors = replay_of(family), prompts(3, 12, 4), prompts(3, 7, seed=1)
    layers = range(replay.decoder.n_layers)
    states = reference.donor_states(replay.decoder, donors, (2, 2 + span))
    edit = SwitchEdit(states, start)
    expected = [reference.edited_logits(replay.decoder, tokens, k, edit) for k in layers]
    assert_equal(replay, sweep_edit(replay, clean_run(replay, tokens), layers, edit), expected)
    from_clean_run = torch.stack(clean_run(replay, donors).states[:-1])[:, :, 2 : 2 + span]
    torch.testing.assert_close(from_clean_run, states, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_that_examples_share_is_run_once_for_their_shared_prefix(family: str) -> None:
    replay, tokens = replay_of(family), prompts(4, 12, shared=7)
    layers, edit = range(replay.decoder.n_layers), RandomEdit("noise", 5, ("all",) * 4, Positions())
    clean = clean_run(replay, tokens)
    assert clean.shared == 7
    expected = [reference.edited_logits(replay.decoder, tokens, k, edit) for k in layers]
    assert_equal(replay, sweep_edit(replay, clean, layers, edit), expected)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 4),
    length=st.integers(1, 9),
    shared=st.integers(0, 9),
    layers=st.sets(st.integers(0, 3), min_size=1),
    data=st.data(),
)
def test_any_shape_and_any_set_of_layers(
    rows: int, length: int, shared: int, layers: set[int], data: st.DataObject
) -> None:
    replay, ks = replay_of("llama"), sorted(layers)
    tokens = prompts(rows, length, min(shared, length))
    clean = clean_run(replay, tokens)
    torch.testing.assert_close(
        unembedding_of(replay.decoder).logits(clean.final()),
        reference.clean_logits(replay.decoder, tokens),
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )
    kind = data.draw(st.sampled_from(["noise", "freeze", "skip"]))
    positions = Positions(keep_first=data.draw(st.booleans()))
    if kind == "noise":
        edit = RandomEdit("noise", 0, names(rows), positions)
        swept = sweep_edit(replay, clean, ks, edit)
        expected = [reference.edited_logits(replay.decoder, tokens, k, edit) for k in ks]
    elif kind == "freeze":
        swept = sweep_freeze(replay, clean, ks, positions)
        expected = [reference.frozen_logits(replay.decoder, tokens, k, positions) for k in ks]
    else:
        width = data.draw(st.sampled_from([None, 1, 3]))
        swept = sweep_skip(replay, clean, ks, width)
        expected = [reference.skipped_logits(replay.decoder, tokens, k, width) for k in ks]
    assert_equal(replay, swept, expected)


def test_a_shared_prefix_is_what_all_rows_begin_with_but_never_the_last_token() -> None:
    tokens = torch.tensor([[1, 2, 3, 4], [1, 2, 9, 4], [1, 2, 3, 4]])
    assert shared_prefix(tokens) == 2
    assert shared_prefix(tokens[::2]) == 3
    assert shared_prefix(tokens[:1]) == 0
    assert shared_prefix(tokens[:, :1]) == 0
