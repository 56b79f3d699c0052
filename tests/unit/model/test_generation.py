"""Greedy answers: the most likely token by whole forward passes, whatever the model's settings."""

import json

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.answers import (
    answer_tokens,
    end_tokens,
    place_in,
    prompt_tokens,
    until_end,
)
from llm_anatomy.model.run.generation import ended, generate, greedy_answers
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.source.prepare import prepare
from llm_anatomy.neurons.favourite import ClampedGeneration, Trial, clamped_answers

from tests.tiny import FAMILIES, save_tiny_model, tiny_model, tiny_tokenizer

PROMPTS = [[5, 9, 31], [7], [12, 40, 3, 8, 90, 17, 2], [1, 2, 3]]
FIVE = ["llama", "gpt2", "gpt_neox", "gemma3", "qwen2", "bloom", "falcon_alibi", "mpt", "opt"]


def naive(model, prompt, ends, steps):
    ids = list(prompt)
    for _ in range(steps):
        token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token in ends:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("family", FIVE)
@pytest.mark.parametrize("budget", [1, 9, 1000])
def test_answers_are_those_of_whole_passes_in_any_batches(family, budget) -> None:
    model = tiny_model(family, dtype=torch.float64)
    decoder = resolve(model)
    steps, ends = 5, set()
    expected = [naive(model, prompt, ends, steps) for prompt in PROMPTS]
    assert greedy_answers(decoder, PROMPTS, ends, steps, budget) == expected
    # Each answer's third token as an end token: answers end in different steps.
    ends = {answer[2] for answer in expected[:2]}
    shortened = [naive(model, prompt, ends, steps) for prompt in PROMPTS]
    assert any(len(answer) < steps for answer in shortened)
    assert greedy_answers(decoder, PROMPTS, ends, steps, budget) == shortened


def test_a_models_generation_settings_change_no_answer() -> None:
    model = tiny_model("llama")
    plain = greedy_answers(resolve(model), PROMPTS, {0}, 6, 100)
    settings = model.generation_config
    settings.repetition_penalty, settings.no_repeat_ngram_size, settings.num_beams = 5.0, 1, 3
    settings.do_sample, settings.temperature, settings.suppress_tokens = True, 9.0, [plain[0][0]]
    assert greedy_answers(resolve(model), PROMPTS, {0}, 6, 100) == plain


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 1},
        {"encoder_no_repeat_ngram_size": 1},
        {"num_beams": 4, "length_penalty": 3.0},
        {"forced_bos_token_id": 7, "forced_eos_token_id": 8},
        {"suppress_tokens": list(range(0, 300, 2)), "begin_suppress_tokens": [1, 3, 5]},
        {"bad_words_ids": [[token] for token in range(200)]},
        {"sequence_bias": [[[9], 50.0]]},
        {"do_sample": True, "temperature": 5.0, "top_k": 3, "top_p": 0.4, "min_p": 0.2},
        {"min_new_tokens": 8, "exponential_decay_length_penalty": [1, 2.0]},
        {"max_new_tokens": 1, "max_length": 2, "penalty_alpha": 0.6, "guidance_scale": 4.0},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_folders_generation_settings_change_no_answer(tmp_path, settings) -> None:
    """Of a prepared model's folder, as users have it: greedy and clamped answers, and patched."""
    path = prepared(tmp_path / "plain")
    plain = answers_of(load_model(path, Precision(), Compute()))
    other = prepared(tmp_path / "other", settings)
    loaded = load_model(other, Precision(), Compute())
    name, value = next(iter(settings.items()))
    assert getattr(loaded.decoder.model.generation_config, name) == value
    assert answers_of(loaded) == plain


def prepared(folder, settings=None):
    source = save_tiny_model(folder / "source")
    if settings is not None:
        (source / "generation_config.json").write_text(json.dumps({"eos_token_id": 0} | settings))
    prepare(
        ModelSource(name="tiny", path=str(source)), (), folder / "model", Precision(), Compute()
    )
    return folder / "model/provenance.json"


def answers_of(loaded):
    decoder, ends = loaded.decoder, end_tokens(loaded.decoder, loaded.tokenizer)
    greedy = greedy_answers(decoder, PROMPTS, ends, 6, 100)
    generation = ClampedGeneration(1, "up", "all", 6, 0.7, ends)
    clamped = clamped_answers(decoder, PROMPTS[2], [Trial(3, 2.0, None)], generation)
    # Repeated tokens are what most settings forbid.
    assert any(len(set(answer)) < len(answer) for answer in greedy)
    return greedy, clamped, ends


def test_the_loop_stops_when_all_rows_are_finished_and_no_sooner() -> None:
    script = torch.tensor([[4, 9, 4, 4, 4], [4, 4, 4, 9, 4]])
    calls = []

    def step(tokens):
        calls.append(tokens[:, 0].tolist())
        return torch.nn.functional.one_hot(script[:, len(calls)], 12).float()

    first = torch.nn.functional.one_hot(script[:, 0], 12).float()
    tokens = generate(first, step, 5, ended({9}))
    assert tokens.tolist() == script[:, :4].tolist()
    assert calls == script[:, :3].T.tolist()
    assert until_end(tokens, {9}) == [[4], [4, 4, 4]]
    calls.clear()
    assert generate(first, step, 2, ended({9})).shape == (2, 2)


def test_end_tokens_are_the_models_and_the_tokenizers() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    model.generation_config.eos_token_id = [5, 7]
    assert end_tokens(resolve(model), tokenizer) == {0, 5, 7}
    model.generation_config.eos_token_id = None
    assert end_tokens(resolve(model), tokenizer) == {0}


def test_an_answer_is_tokenised_where_it_stands() -> None:
    tokenizer = tiny_tokenizer()
    prompt = "The capital of France is"
    tokens, offsets = prompt_tokens(tokenizer, prompt)
    assert [prompt[a:b] for a, b in offsets] == ["The", " capital", " of", " France", " is"]
    (paris,) = answer_tokens(tokenizer, prompt, tokens, "Paris")
    assert tokenizer.decode([paris]) == " Paris"
    joined = answer_tokens(tokenizer, prompt, tokens, "Paris", "")
    assert tokenizer.decode(joined) == "Paris"
    assert len(joined) > 1


@pytest.mark.parametrize(
    ("prompt", "subject", "at"),
    [
        ("Is Iran where Iranian is", "Iran", 3),
        ("Iran, said Iran, is", "Iran", 11),
        ("Man and Superman: man", "Man", 0),
        ("the Iranian town", "Iran", 4),
        ("東京都の首都は", "東京", 0),
        ("C++ (1985) is", "C++", 0),
        ("The town is", "Iran", None),
        ("The town is", "", None),
    ],
)
def test_a_subject_is_a_word_of_its_own_before_it_is_part_of_one(
    prompt: str, subject: str, at: int | None
) -> None:
    assert place_in(prompt, subject) == at


def test_an_answer_that_would_change_the_prompts_tokens_has_none() -> None:
    """Behind a prompt that ends in a space: " Paris" is one token, and the space is in it."""
    tokenizer = tiny_tokenizer()
    prompt = "The capital of France is "
    tokens, _ = prompt_tokens(tokenizer, prompt)
    assert answer_tokens(tokenizer, prompt, tokens, "Paris") == ()


def test_every_family_is_known() -> None:
    assert set(FIVE) <= set(FAMILIES)
