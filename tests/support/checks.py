"""One check per study: what it reads from a model against the family's own formulas in float64.

The model is tiny and random, in float64. The other side of every comparison is what transformers'
own code of the family computes, or the study's formula written out slowly on it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llm_anatomy.facts.importance import Fact, best_ffn_neurons, layer_importance
from llm_anatomy.facts.readout import Readout, TargetToken
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.spline import spline_features
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.batching import token_budget_batches
from llm_anatomy.model.run.proof import prove
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.neurons.clamping import Clamp
from llm_anatomy.neurons.decode import HeadDecoder
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.patching import reference as sweeps
from llm_anatomy.patching.clean import clean_run
from llm_anatomy.patching.fast import sweep_edit, sweep_freeze, sweep_skip
from llm_anatomy.patching.manipulations import Positions, RandomEdit, SwitchEdit

from tests.support.falcon import falcon_attention
from tests.tiny import tiny_model
from tests.unit.geometry import reference as geometry
from tests.unit.neurons.conftest import prepare
from tests.unit.patching.tools import names, prompts

TEXTS = [[5, 9, 20, 31, 7], [3, 8, 250], [11, 12, 13, 14, 15, 16, 17]]
# transformers computes the norms of some families in float32, whatever the model's type.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def check_geometry(family: str, folder: Path) -> None:
    """Seven features and attention counts of a padded batch, against one text at a time."""
    decoder = decoder_of(family)
    weights = [block.preactivation.weight(torch.float64).numpy() for block in decoder.blocks]
    attention = falcon_attention if "falcon" in family else geometry.attention
    (batch,) = token_budget_batches(TEXTS, 64)
    request = Request(attention_tokens="last")
    read = read_activations(decoder, partitions(decoder), batch, request)
    assert read.relative_counts is not None
    for index, row in enumerate(batch.rows):
        length = len(TEXTS[row])
        active, distance = read.active[:, index, :length], read.distance[:, index, :length]
        found = spline_features(active.numpy(), distance.numpy(), np.array([length]))[0]
        layers = geometry.preactivations(decoder, TEXTS[row])
        expected = [geometry.features(h, w) for h, w in zip(layers, weights, strict=True)]
        np.testing.assert_allclose(found, np.array(expected), rtol=1e-5, atol=1e-9)
        for layer, heads in enumerate(attention(decoder, TEXTS[row])):
            counts = [geometry.count(head[-1], 0.1, relative=True) for head in heads]
            assert read.relative_counts[layer, index, 0].tolist() == counts


def check_toxicity(family: str, folder: Path) -> None:
    """Last and mean states of a padded batch: beside the features, all that it reads."""
    decoder = decoder_of(family)
    (batch,) = token_budget_batches(TEXTS, 64)
    layers = tuple(range(decoder.n_layers))
    read = read_activations(decoder, partitions(decoder), batch, Request(state_layers=layers))
    for index, row in enumerate(batch.rows):
        states = residual_stream(decoder, TEXTS[row])
        for layer in layers:
            own = states[layer + 1]
            torch.testing.assert_close(read.last_states[layer, index], own[-1], **TOLERANCE)
            torch.testing.assert_close(read.mean_states[layer, index], own.mean(0), **TOLERANCE)


def check_neurons(family: str, folder: Path) -> None:
    """Stored weights decoded as softmax(U w), and clamps restarted at their layer."""
    decoder, stored = decoder_of(family), ModelWeights(prepare(folder, family).parent)
    # Without the rows that have no token.
    head = decoder.head.weight(torch.float64)[: len(stored.head)]
    streamed = HeadDecoder(stored.head, 5)
    for block in decoder.blocks:
        vectors = block.up.weight(torch.float64)
        expected = (vectors @ head.T).softmax(-1).topk(5)
        found = streamed.decode(stored.vectors(block.index, "up")).positive
        assert torch.equal(torch.as_tensor(found.ids), expected.indices)
        np.testing.assert_allclose(found.probabilities, expected.values, rtol=1e-4)
    fast, slow = PromptRunner(decoder), PromptRunner(decoder, restart=False)
    mask = torch.tensor([[False, False, False, False, True]])
    clamp = Clamp(1, "up", "set", torch.tensor([3]), torch.tensor([9.0]).double(), mask)
    expected_logprobs = slow.next_logprobs(TEXTS[0], clamp)
    assert not torch.allclose(expected_logprobs, slow.next_logprobs(TEXTS[0]))
    torch.testing.assert_close(fast.next_logprobs(TEXTS[0], clamp), expected_logprobs, **TOLERANCE)


def check_patching(family: str, folder: Path) -> None:
    """Every fast sweep, against one full forward pass with hooks per layer."""
    replay, tokens = Replay(decoder_of(family)), prompts(3, 9, shared=4)
    decoder, clean, everywhere = replay.decoder, clean_run(replay, tokens), Positions()
    layers = range(decoder.n_layers)
    donors = sweeps.donor_states(decoder, prompts(3, 6, seed=1), (2, 4))
    edits = [RandomEdit(kind, 5, names(3), everywhere) for kind in ("noise", "shuffle")]
    pairs = [
        (
            sweep_edit(replay, clean, layers, edit),
            [sweeps.edited_logits(decoder, tokens, k, edit) for k in layers],
        )
        for edit in (*edits, SwitchEdit(donors, 5))
    ]
    frozen = [sweeps.frozen_logits(decoder, tokens, k, everywhere) for k in layers]
    pairs.append((sweep_freeze(replay, clean, layers, everywhere), frozen))
    skipped = [sweeps.skipped_logits(decoder, tokens, k, None) for k in layers]
    pairs.append((sweep_skip(replay, clean, layers, None), skipped))
    for swept, expected in pairs:
        torch.testing.assert_close(
            unembedding_of(decoder).logits(swept.final), torch.cat(expected), **TOLERANCE
        )


def check_facts(family: str, folder: Path) -> None:
    """Parts that sum to the model's states, telescoping importance, and the certified search."""
    decoder, target = decoder_of(family), TargetToken(42)
    subvalues = Subvalues(decoder)
    for index, recording in record_prompts(decoder, TEXTS, 64):
        for layer, state in enumerate(residual_stream(decoder, TEXTS[index])):
            total = recording.start + (recording.attention + recording.ffn)[:layer].sum(0)
            torch.testing.assert_close(total, state, **TOLERANCE)
        own = decoder.model(torch.tensor([TEXTS[index]])).logits[0, -1].log_softmax(-1)
        readout = Readout(unembedding_of(decoder), recording.states()[-1])
        fast, slow = (
            Fact(recording, readout, target, subvalues, certify) for certify in (True, False)
        )
        gained = readout.scores(recording.states()[:1], target)
        torch.testing.assert_close(
            layer_importance(fast).sum() + gained[0], own[target.token], **TOLERANCE
        )
        best, exhaustive = best_ffn_neurons(fast, 20), best_ffn_neurons(slow, 20)
        assert best.units.tolist() == exhaustive.units.tolist()
        torch.testing.assert_close(best.values, exhaustive.values)


CHECKS: dict[str, Callable[[str, Path], None]] = {
    "geometry": check_geometry,
    "toxicity": check_toxicity,
    "neurons": check_neurons,
    "patching": check_patching,
    "facts": check_facts,
}


def residual_stream(decoder: Decoder, ids: list[int]) -> list[torch.Tensor]:
    """The state before the first block and behind every block, [tokens, d_model] each."""
    states: list[torch.Tensor] = []

    def before(module: Any, args: Any, kwargs: Any) -> None:
        states.append((args[0] if args else kwargs["hidden_states"])[0].clone())

    def behind(module: Any, args: Any, output: Any) -> None:
        states.append((output[0] if isinstance(output, tuple) else output)[0].clone())

    first = decoder.blocks[0].module
    handles = [first.register_forward_pre_hook(before, with_kwargs=True)]
    handles += [block.module.register_forward_hook(behind) for block in decoder.blocks]
    decoder.model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return [state.reshape(len(ids), -1) for state in states]


def decoder_of(family: str) -> Decoder:
    """The tiny random model of a family in float64, as a study gets it."""
    return prove(resolve(tiny_model(family, dtype=torch.float64)))
