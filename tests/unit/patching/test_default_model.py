"""The real default model: fast equals slow, the invariants hold, and a switched capital flips."""

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.patching import reference
from llm_anatomy.patching.clean import clean_run
from llm_anatomy.patching.fast import sweep_edit, sweep_freeze, sweep_skip
from llm_anatomy.patching.manipulations import Positions, RandomEdit, SwitchEdit

from tests.default_model import default_model
from tests.unit.patching.test_invariants import check_invariants
from tests.unit.patching.tools import TOLERANCE

pytestmark = [pytest.mark.default_model, pytest.mark.usefixtures("no_grad")]


def test_the_default_model() -> None:
    loaded = load_model(default_model(), Precision(), Compute())
    # In float32, rounding alone moves logits of 30 blocks by more than 1e-4.
    loaded.decoder.model.double()
    replay, decoder = Replay(loaded.decoder), loaded.decoder
    texts = [f"The capital city of {country} is" for country in ("France", "Italy")]
    tokens = torch.tensor([loaded.tokenizer(text)["input_ids"] for text in texts])
    donors, layers, positions = tokens.flip(0), (0, 13, 24, 29), Positions()
    place = int((tokens != donors).any(0).nonzero()[0])
    clean = clean_run(replay, tokens)
    noise = RandomEdit("noise", 0, ("France", "Italy"), positions)
    states = reference.donor_states(decoder, donors, (place, place + 1))
    switch = SwitchEdit(states, place)
    pairs = [
        (
            sweep_edit(replay, clean, layers, noise),
            [reference.edited_logits(decoder, tokens, k, noise) for k in layers],
        ),
        (
            sweep_edit(replay, clean, layers, switch),
            [reference.edited_logits(decoder, tokens, k, switch) for k in layers],
        ),
        (
            sweep_freeze(replay, clean, layers, positions),
            [reference.frozen_logits(decoder, tokens, k, positions) for k in layers],
        ),
        (
            sweep_skip(replay, clean, layers, None),
            [reference.skipped_logits(decoder, tokens, k, None) for k in layers],
        ),
    ]
    for swept, expected in pairs:
        actual, wanted = unembedding_of(decoder).logits(swept.final), torch.cat(expected)
        torch.testing.assert_close(actual, wanted, rtol=TOLERANCE, atol=TOLERANCE)
        assert torch.equal(actual.argmax(-1), wanted.argmax(-1))
    check_invariants(replay, tokens, donors, place)
    answers = unembedding_of(decoder).logits(pairs[1][0].final).argmax(-1).view(len(layers), 2)
    words = [[loaded.tokenizer.decode([token]) for token in row] for row in answers.tolist()]
    assert words[0] == [" Rome", " Paris"]
    assert words[-1] == [" Paris", " Rome"]
