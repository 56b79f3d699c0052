"""Edits, held-out texts and clean states, each against what it must be by its definition."""

from typing import Any

import pytest
import torch
from llm_anatomy.config.neurons import FineTune
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.hooks import hooked
from llm_anatomy.neurons import tuning
from llm_anatomy.neurons.editing import (
    WeightVector,
    closest,
    concept_direction,
    reversed_rows,
)
from llm_anatomy.neurons.runner import PromptRunner

from tests.tiny import tiny_model


def some_direction() -> torch.Tensor:
    drawn = torch.randn(32, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(drawn, dim=0)


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
def test_edited_vectors_are_their_length_against_the_direction(family: str) -> None:
    decoder = resolve(tiny_model(family))
    direction = some_direction()
    block = decoder.blocks[1]
    stored = {"up": block.up.weight(), "down": block.down.weight().T}
    before = {matrix: weight.clone() for matrix, weight in stored.items()}
    vectors = [WeightVector("up", 1, 5, 0.0), WeightVector("down", 1, 9, 0.0)]
    with reversed_rows(decoder, vectors, direction):
        now = {"up": block.up.weight(), "down": block.down.weight().T}
        for matrix, neuron in (("up", 5), ("down", 9)):
            expected = before[matrix].clone()
            length = expected[neuron].square().sum().sqrt()
            expected[neuron] = -length * direction
            torch.testing.assert_close(now[matrix], expected)
    for matrix, weight in {"up": block.up.weight(), "down": block.down.weight().T}.items():
        assert torch.equal(weight, before[matrix])


def test_the_closest_vectors_are_those_of_the_highest_cosine() -> None:
    decoder = resolve(tiny_model("llama"))
    direction = some_direction()
    cosines = {}
    for block in decoder.blocks:
        for matrix, vectors in (("up", block.up.weight()), ("down", block.down.weight().T)):
            for neuron, vector in enumerate(vectors):
                cosines[matrix, block.index, neuron] = float(vector @ direction / vector.norm())
    best = sorted(cosines, key=lambda place: -cosines[place])[:6]
    found = closest(decoder, direction, ["up", "down"], 6)
    assert [(each.matrix, each.layer, each.neuron) for each in found] == best
    assert [each.cosine for each in found] == pytest.approx([cosines[place] for place in best])


def test_a_concept_falls_when_what_writes_it_is_reversed() -> None:
    """The neuron of the largest coefficient is made to write the concept, then reversed."""
    decoder, prompt, token = resolve(tiny_model("llama")), [5, 9, 2, 7], 42
    block, runner = decoder.blocks[-1], PromptRunner(decoder, restart=False)
    direction = concept_direction(decoder.head.weight(), [token])
    seen: list[torch.Tensor] = []
    with hooked(pre={block.down.module: lambda module, args, kwargs: seen.append(args[0])}):
        runner.next_logprobs(prompt)
    neuron = int(seen[0][0, -1].argmax())
    assert seen[0][0, -1, neuron] > 0
    block.down.module.weight[:, neuron] = 2.0 * direction
    written = float(runner.next_logprobs(prompt)[0, token])
    with reversed_rows(decoder, closest(decoder, direction, ["down"], 1), direction):
        assert float(runner.next_logprobs(prompt)[0, token]) < written - 0.1
    assert float(runner.next_logprobs(prompt)[0, token]) == written


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_clean_states_are_those_of_the_prompt_and_not_of_one_as_long(family: str) -> None:
    decoder = resolve(tiny_model(family))
    fast, slow = PromptRunner(decoder), PromptRunner(decoder, restart=False)
    prompts = [[5, 9, 2, 7], [5, 9, 2, 8], [6, 9, 2, 7], [7, 2, 9, 5]]
    for prompt in [*prompts, *prompts]:
        torch.testing.assert_close(
            fast.next_logprobs(prompt), slow.next_logprobs(prompt), rtol=1e-4, atol=1e-4
        )


def cross_entropy(model: Any, rows: list[list[int]]) -> float:
    """Mean loss per predicted token, text by text."""
    losses: list[float] = []
    with torch.no_grad():
        for row in rows:
            logs = model(torch.tensor([row])).logits[0, :-1].double().log_softmax(-1)
            losses += [-float(logs[at, token]) for at, token in enumerate(row[1:])]
    return sum(losses) / len(losses)


def test_texts_that_are_held_out_are_never_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[n, n + 1, n % 7 + 1, *range(1, n % 4 + 1)] for n in range(1, 31)]
    seen: list[tuple[bool, list[list[int]]]] = []
    plain = tuning.loss_of

    def loss_of(model: Any, batch: Any) -> Any:
        seen.append((torch.is_grad_enabled(), [list(row) for row in batch]))
        return plain(model, batch)

    monkeypatch.setattr(tuning, "loss_of", loss_of)
    model = tiny_model("llama")
    settings = FineTune(steps=14, batch=4, max_tokens=16, learning_rate=1e-3)
    with torch.enable_grad():
        steps = tuning.train(model, rows, settings, 0)
        untouched = tiny_model("llama")
        curve = list(steps)
    trained = {tuple(row) for grad, batch in seen if grad for row in batch}
    held = [batch for grad, batch in seen if not grad]
    # Three of thirty, before the first and after the last step; all others are trained on.
    assert len(held) == 2
    assert held[0] == held[1]
    assert len(held[0]) == 3
    assert not trained & {tuple(row) for row in held[0]}
    assert trained | {tuple(row) for row in held[0]} == {tuple(row) for row in rows}
    assert curve[0]["held_loss"] == pytest.approx(cross_entropy(untouched, held[0]), rel=1e-4)
    assert curve[-1]["held_loss"] == pytest.approx(cross_entropy(model, held[0]), rel=1e-4)
    assert all(row["held_loss"] is None for row in curve[1:-1])
    assert curve[0]["loss"] == pytest.approx(cross_entropy(untouched, seen[1][1]), rel=1e-4)


def test_a_loss_is_the_mean_over_the_tokens_that_are_predicted() -> None:
    model = tiny_model("llama")
    rows = [[5, 9, 17, 3], [8, 4], [7, 7, 1]]
    with torch.no_grad():
        loss, count = tuning.loss_of(model, rows)
        total = 0.0
        for row in rows:
            logs = model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
            total -= sum(float(logs[i, token]) for i, token in enumerate(row[1:]))
    # Of a row the first token is predicted from nothing.
    assert count == 3 + 1 + 2
    assert float(loss) == pytest.approx(total / count, rel=1e-5)
