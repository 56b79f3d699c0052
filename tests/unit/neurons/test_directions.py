"""Directions as differences of class means against passes with plain hooks, and by their theory."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from llm_anatomy.config.directions import Directions, DirectionTarget
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.neurons.directions import (
    Steer,
    block_inputs,
    difference_of_means,
    held_out_auc,
    permuted_direction,
    random_direction,
)
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.steering import (
    at_equal_fluency,
    closest_down_neuron,
    target_texts,
)
from llm_anatomy.stages import find_concepts, steer_directions
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.directions import DIRECTIONS, EQUAL_FLUENCY, STEERING
from pydantic import ValidationError

from tests.tiny import tiny_model, tiny_tokenizer
from tests.unit.figures.tables import filled
from tests.unit.neurons.tools import PRECISION, SEARCH

FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma2")
PROMPT = tiny_tokenizer()("The capital of France is Paris.")["input_ids"]


def naive_logits(model, decoder, change):
    """Logits of a whole pass in which the output of block 0 is changed by a plain hook."""

    def hook(module, args, output):
        first = output[0] if isinstance(output, tuple) else output
        changed = change(first)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = decoder.blocks[0].module.register_forward_hook(hook)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([PROMPT])).logits[0]
    handle.remove()
    return logits.log_softmax(-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_adding_and_projecting_out_equal_a_hook_that_does(family):
    model = tiny_model(family, dtype=torch.float64)
    decoder = resolve(model)
    r = torch.randn(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = r / r.norm()
    doses = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)
    steers = {
        "add": (Steer(1, doses[:, None] * r), [lambda x, c=c: x + c * r for c in doses]),
        "out": (
            Steer(1, torch.zeros(1, 32, dtype=torch.float64), unit),
            [lambda x: x - torch.einsum("btd,d,e->bte", x, unit, unit)],
        ),
    }
    for steer, changes in steers.values():
        expected = torch.stack([naive_logits(model, decoder, change)[-1] for change in changes])
        for restart in (True, False):
            found = PromptRunner(decoder, restart).next_logprobs(PROMPT, steer)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    clean = PromptRunner(decoder).next_logprobs(PROMPT)
    nothing = Steer(1, torch.zeros(1, 32, dtype=torch.float64))
    assert torch.equal(PromptRunner(decoder).next_logprobs(PROMPT, nothing), clean)


def test_what_is_projected_out_is_gone_and_twice_is_once():
    decoder = resolve(tiny_model("llama", dtype=torch.float64))
    unit = torch.nn.functional.normalize(torch.ones(32, dtype=torch.float64), dim=0)
    steer = Steer(1, torch.zeros(1, 32, dtype=torch.float64), unit)
    with steer.applied(decoder):
        (once,) = block_inputs_under(decoder, 1)
        with steer.applied(decoder):
            (twice,) = block_inputs_under(decoder, 1)
    assert (once @ unit).abs().max() < 1e-12 * once.norm()
    torch.testing.assert_close(once, twice, rtol=0, atol=1e-12)


def block_inputs_under(decoder, layer):
    """What the block reads behind the hooks that are in place."""
    seen = []
    handle = decoder.blocks[layer].module.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    with torch.no_grad():
        decoder.body(input_ids=torch.tensor([PROMPT]), use_cache=False)
    handle.remove()
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_states_of_texts_in_batches_are_those_of_the_model_one_by_one(family):
    model = tiny_model(family, dtype=torch.float64)
    ids = [PROMPT, PROMPT[:3], PROMPT[1:], [5, 6, 7], [9]]
    with torch.no_grad():
        alone = [
            model(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states[1][0]
            for row in ids
        ]
    decoder = resolve(model)
    for token, expected in (("last", [s[-1] for s in alone]), ("mean", [s.mean(0) for s in alone])):
        found = block_inputs(decoder, ids, 1, token, 16)
        torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-10)


def planted(n, strength, seed=0):
    rng = np.random.default_rng(seed)
    positive = np.arange(2 * n) % 2 == 0
    v = rng.normal(size=16)
    states = rng.normal(size=(2 * n, 16)) + 100 + strength * positive[:, None] * v
    return torch.from_numpy(states), positive, torch.from_numpy(v)


def test_a_planted_direction_is_found_and_chance_is_chance():
    states, positive, v = planted(128, 1.0)
    made = difference_of_means(states, positive)
    assert torch.cosine_similarity(made, v, dim=0) > 0.95
    torch.testing.assert_close(difference_of_means(states, ~positive), -made)
    assert held_out_auc(states, positive, np.arange(256), 0) > 0.95
    nothing, labels, _ = planted(128, 0.0)
    # Made and tested on the same texts it would be far above one half.
    assert abs(held_out_auc(nothing, labels, np.arange(256), 0) - 0.5) < 0.12
    # Three texts of a class are too few, four are enough.
    assert held_out_auc(states[:7], positive[:7], np.arange(7), 0) is None
    assert held_out_auc(states[:8], positive[:8], np.arange(8), 0) > 0.5
    for control in (random_direction(made, 0, "c"), permuted_direction(states, positive, 0, "c")):
        assert control.norm() == pytest.approx(float(made.norm()))
        assert abs(float(torch.cosine_similarity(control, made, dim=0))) < 0.8


def test_matched_pairs_without_a_signal_are_chance():
    """What a pair shares tells of the other's class where a half has only one of them."""
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        topic = 20 * rng.normal(size=(20, 16))
        states = torch.from_numpy(np.tile(topic, (2, 1)) + rng.normal(size=(40, 16)))
        positive = np.arange(40) < 20
        pairs = np.tile(np.arange(20), 2)
        found.append(held_out_auc(states, positive, pairs, seed))
    assert abs(np.mean(found) - 0.5) < 0.06
    # All texts of one set: no half has both classes.
    assert held_out_auc(states, positive, np.zeros(40, dtype=int), 0) is None


def test_pairs_copies_and_groups_stay_in_one_half():
    own = DirectionTarget(
        concept="c", prompt="P", positive=["a dog", "one"], negative=["a cat", "two"]
    )
    assert target_texts(own, {}, 9).copies.tolist() == [0, 1, 0, 1]
    longer = own.model_copy(update={"negative": ["a cat", "two", "One"]})
    assert target_texts(longer, {}, 9).copies.tolist() == [0, 1, 2, 3, 1]
    table = pd.DataFrame({"text": ["ab", "cd", "ef", "gh"], "group": ["x", "y", "x", None]})
    table["label_angry"] = [True, True, False, False]
    target = DirectionTarget(concept="c", prompt="P", dataset="mine", label="angry")
    assert target_texts(target, {"mine": table}, 9).copies.tolist() == [0, 1, 0, 2]


def test_the_same_concept_and_prompt_twice_are_refused():
    one = DirectionTarget(concept="c", prompt="P", positive=["a", "b"], negative=["c", "d"])
    with pytest.raises(ValidationError, match=r"the concept 'c' with the prompt 'P' twice"):
        Directions(targets=[one, one.model_copy(update={"token": "mean"})])
    assert len(Directions(targets=[one, one.model_copy(update={"prompt": "Q"})]).targets) == 2


def test_the_neuron_that_writes_a_token_is_found():
    model = tiny_model("llama")
    decoder = resolve(model)
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[:, 17] = 3 * model.lm_head.weight[8]
    assert closest_down_neuron(decoder, [3, 8]) == (2, 17)


def swept(method, role, dose, perplexity, logprob, operation=None):
    usual = {"none": "none", "direction": "add", "clamp": "set"}[method]
    return {
        "operation": operation or usual,
        "concept": "dog",
        "prompt": "My",
        "method": method,
        "role": role,
        "dose": dose,
        "perplexity": perplexity,
        "logprob": logprob,
        "probability": np.exp(logprob),
    }


def test_the_best_dose_within_each_bound_of_perplexity():
    rows = [
        swept("none", "concept", None, 10.0, -5.0),
        swept("direction", "concept", 1.0, 11.0, -4.0),
        swept("direction", "concept", 2.0, 15.0, -1.0),
        swept("direction", "concept", 3.0, 15.1, -0.5),
        swept("direction", "random", 1.0, 10.0, -6.0),
        swept("clamp", "concept", 20.0, 30.0, -0.1),
    ]
    table = at_equal_fluency(filled(STEERING, rows), [1.1, 1.5, 4.0])
    found = {
        (row["method"], row["role"], row["perplexity_ratio"]): (row["dose"], row["logprob_gain"])
        for row in table.to_dict("records")
    }
    assert found["direction", "concept", 1.1] == (1.0, 1.0)
    assert found["direction", "concept", 1.5] == (2.0, 4.0)
    assert found["direction", "concept", 4.0] == (3.0, 4.5)
    # Where every dose lowers the concept or costs more, the clean model is best.
    assert found["direction", "random", 4.0][1] == 0
    assert np.isnan(found["direction", "random", 4.0][0])
    assert found["clamp", "concept", 1.5][1] == 0
    assert found["clamp", "concept", 4.0] == (20.0, pytest.approx(4.9))


def test_what_is_subtracted_or_projected_out_is_not_added():
    rows = [
        swept("none", "concept", None, 10.0, -5.0),
        swept("direction", "concept", -1.0, 10.0, -1.0),
        swept("direction", "concept", None, 10.0, -0.5, "project_out"),
        swept("direction", "concept", 1.0, 10.0, -4.0),
        swept("direction", "random", -1.0, 10.0, -1.0),
        swept("direction", "random", None, 10.0, -0.5, "project_out"),
        swept("clamp", "concept", -5.0, 10.0, -2.0),
    ]
    table = at_equal_fluency(filled(STEERING, rows), [1.5]).set_index(["method", "role"])
    assert table["logprob_gain"].to_dict() == {
        ("direction", "concept"): 1.0,
        ("direction", "random"): 0.0,
        ("clamp", "concept"): 3.0,
    }
    assert table["dose"]["direction", "concept"] == 1


def test_texts_of_a_label_or_of_the_configuration():
    table = pd.DataFrame(
        {"text": list("abcdef"), "label_angry": [True, None, False, True, False, True]}
    ).astype({"label_angry": "boolean"})
    target = DirectionTarget(concept="c", prompt="P", dataset="mine", label="angry")
    texts = target_texts(target, {"mine": table}, 2)
    assert texts.texts == ["a", "d", "c", "e"]
    assert texts.positive.tolist() == [True, True, False, False]
    assert (texts.unlabelled, texts.unread) == (1, 1)
    own = DirectionTarget(concept="c", prompt="P", positive=["a", "b"], negative=["c", "d", "e"])
    assert target_texts(own, {}, 9).positive.tolist() == [True, True, False, False, False]
    few = target_texts(own, {}, 2)
    assert (few.texts, few.unlabelled, few.unread) == (["a", "b", "c", "d"], 0, 1)
    with pytest.raises(UserError, match=r"no label 'sad' \(it has angry\)"):
        target_texts(target.model_copy(update={"label": "sad"}), {"mine": table}, 9)
    with pytest.raises(UserError, match=r"has 1 texts with the label 'angry' and 1 without"):
        target_texts(target, {"mine": table.iloc[:3]}, 9)


def test_the_stage_steers_by_direction_and_neuron_with_controls(tiny: Path, tmp_path: Path) -> None:
    stage = find_concepts.FindStage(seed=0, map={}, search=SEARCH)
    concepts = tmp_path / "concepts.parquet"
    find_concepts.run(
        stage, model=tiny, concepts=concepts, concept_tokens=tmp_path / "tokens.parquet"
    )
    lines = [f"{start} {n} of the city" for n in range(5) for start in ("Paris is", "An egg")]
    lines.append("An egg 9 of the city")
    frame = pd.DataFrame({"text_id": [str(n) for n in range(11)], "text": lines})
    frame["label_paris"] = [line.startswith("Paris") for line in lines]
    # Nothing is known of two more.
    more = pd.DataFrame({"text_id": ["a", "b"], "text": ["Rome is old", "Rome is new"]})
    frame = pd.concat([frame, more], ignore_index=True)
    frame["label_paris"] = frame["label_paris"].astype("boolean")
    texts = tmp_path / "mine.parquet"
    write_table(texts, TEXTS, frame, {})
    target = DirectionTarget(
        concept="Paris", prompt="The capital of France is", dataset="mine", label="paris"
    )
    settings = Directions(targets=[target], doses=[0.0, 1.0, 4.0], values=[-3.0, 3.0])
    tables = {
        name: tmp_path / f"{name}.parquet" for name in ("directions", "steering", "equal_fluency")
    }
    steer_directions.run(
        steer_directions.SteerStage(
            seed=0,
            precision=PRECISION,
            named=SEARCH.concepts,
            directions=settings,
            held_text="The city of Rome is the capital.",
            datasets=["mine"],
        ),
        model=tiny,
        concepts=concepts,
        texts=(texts,),
        **tables,
    )
    (made,) = read_table(tables["directions"], DIRECTIONS).to_dict("records")
    assert (made["layer"], made["positive"], made["negative"]) == (1, 5, 6)
    assert (made["positive_cut"], made["negative_cut"]) == (0, 0)
    assert (made["unlabelled"], made["unread"]) == (2, 0)
    said = read_provenance(tables["directions"])
    assert said["held_text"] == "The city of Rome is the capital."
    assert (said["directions"]["max_length"], said["directions"]["site"]) == (1024, "activation")
    assert made["source"] == "mine: paris"
    assert made["held_out_auc"] == 1, "the classes are told apart by their last token's past"
    steering = read_table(tables["steering"], STEERING)
    counts = steering.groupby(["method", "role"]).size().to_dict()
    assert counts == {
        ("clamp", "concept"): 2,
        ("clamp", "random"): 2,
        ("direction", "concept"): 4,
        ("direction", "permuted"): 4,
        ("direction", "random"): 4,
        ("none", "concept"): 1,
    }
    clean = steering[steering["method"] == "none"].iloc[0]
    nothing = steering[(steering["operation"] == "add") & (steering["dose"] == 0)]
    np.testing.assert_allclose(nothing["kl"], 0, atol=1e-9)
    np.testing.assert_allclose(nothing["perplexity"], clean["perplexity"], rtol=1e-6)
    changed = steering[(steering["dose"].fillna(1) != 0) & (steering["method"] != "none")]
    assert (changed["kl"] > 0).all()
    fluent = read_table(tables["equal_fluency"], EQUAL_FLUENCY)
    assert len(fluent) == 5 * 3
    assert (fluent["logprob_gain"] >= 0).all()
