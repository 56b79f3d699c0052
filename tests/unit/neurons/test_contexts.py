"""Contexts of every neuron against a naive pass that keeps every activation of every text."""

from collections import defaultdict

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from llm_anatomy.config.contexts import Contexts
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.neurons import activity
from llm_anatomy.neurons.compiled_activity import take_compiled
from llm_anatomy.neurons.contexts import context_texts, join_activity, join_contexts, watch_neurons
from llm_anatomy.neurons.reading import ReadTexts, choose_texts
from llm_anatomy.neurons.strongest import Strongest
from llm_anatomy.tables.contexts import ACTIVITY, CONTEXTS
from llm_anatomy.tables.core import write_table

from tests.tiny import tiny_model, tiny_tokenizer

FAMILIES = ("llama", "gpt2", "gpt_neox", "qwen2", "gemma2")
# Some share their beginning, on which a causal model does the same in each: equal activations.
LINES = (
    "The capital of France is Paris.",
    "The capital of Italy is Rome!",
    "The capital of Italy is Rome, they say.",
    "Is the city of Rome the capital?",
    "ab",
    "The city.",
    "Zebras!!",
    "of of of of of of",
    "The capital of France is Paris, and that of Italy is Rome; the city is old.",
    "no city",
    "q",
)
# Wide enough that no window is empty and narrow enough that most are cut.
SETTINGS = Contexts(count=3, before=3, after=2, threshold=0.05)
WORDS = [f"<{token}>" for token in range(320)]


def read_texts(tokenizer, lines=LINES):
    ids = [tokenizer(line)["input_ids"] for line in lines]
    kept = [row for row in range(len(lines)) if len(ids[row]) > 1]
    return ReadTexts(
        ["mine"] * len(kept), [f"t{row}" for row in kept], [ids[row] for row in kept], {}
    )


def naive_values(decoder, texts, site):
    """Every activation of every text, from passes over one text each: layer -> text -> array."""
    values = defaultdict(list)
    handles = []
    for block in decoder.blocks:
        if site == "activation":

            def hook(module, args, layer=block.index):
                values[layer].append(args[0].reshape(-1, args[0].shape[-1]).float().numpy())

            handles.append(block.down.module.register_forward_pre_hook(hook))
        else:
            projection = block.up if site == "up" else block.gate

            def hook(module, args, output, layer=block.index, projection=projection):
                flat = output.reshape(-1, output.shape[-1])
                if projection.rows is not None:
                    flat = flat[:, projection.rows]
                values[layer].append(flat.float().numpy())

            handles.append(projection.module.register_forward_hook(hook))
    with torch.no_grad():
        for ids in texts.ids:
            decoder.model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return values


def naive_contexts(values, texts, settings, words=WORDS):
    """Sort all texts of every neuron by what they reach; ties by their order."""
    rows = []
    for layer, per_text in sorted(values.items()):
        for neuron in range(per_text[0].shape[1]):
            for sign in (1, -1):
                found = []
                for text, array in enumerate(per_text):
                    column = sign * array[settings.first_positions :, neuron]
                    best = int(column.argmax())
                    if column[best] > 0:
                        found.append((-column[best], text, best + settings.first_positions))
                for rank, (value, text, position) in enumerate(sorted(found)[: settings.count], 1):
                    ids = texts.ids[text]
                    start, stop = max(0, position - settings.before), position + settings.after + 1
                    window = range(start, min(stop, len(ids)))
                    rows.append(
                        {
                            "layer": layer,
                            "neuron": neuron,
                            "sign": sign,
                            "rank": rank,
                            "activation": -value * sign,
                            "dataset": texts.datasets[text],
                            "text_id": texts.text_ids[text],
                            "position": position,
                            "token_id": ids[position],
                            "token": words[ids[position]],
                            "before": "".join(words[ids[at]] for at in window if at < position),
                            "after": "".join(words[ids[at]] for at in window if at > position),
                            "start": start,
                            "token_ids": [ids[at] for at in window],
                            "values": [per_text[text][at, neuron] for at in window],
                        }
                    )
    return CONTEXTS.frame(rows)


def streamed(decoder, texts, settings, budget=512, shards=1):
    """Contexts and activity of all layers, read in so many shards."""
    parts = [
        watch_neurons(decoder, WORDS, texts.shard(shard, shards), settings, budget)
        for shard in range(1, shards + 1)
    ]
    layers = range(decoder.n_layers)
    contexts = [join_contexts([p.contexts(k) for p in parts], settings.count) for k in layers]
    activities = [join_activity([p.activity(k) for p in parts]) for k in layers]
    return pa.concat_tables(contexts), pa.concat_tables(activities)


def frames_equal(found, expected):
    frame = found.to_pandas()
    assert list(frame.columns) == list(expected.columns)
    lists = ["token_ids", "values"]
    pd.testing.assert_frame_equal(
        frame.drop(columns=lists), expected.drop(columns=lists), check_dtype=False, rtol=1e-6
    )
    for name in lists:
        for one, other in zip(frame[name], expected[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


# Of float64 models, whose values in float32 are the same in batches of any size.
@pytest.mark.parametrize("family", FAMILIES)
def test_contexts_equal_a_naive_pass_for_any_batching_and_shard_count(family):
    decoder = resolve(tiny_model(family, dtype=torch.float64))
    texts = read_texts(tiny_tokenizer())
    expected = naive_contexts(naive_values(decoder, texts, "activation"), texts, SETTINGS)
    assert (expected.groupby(["layer", "neuron", "sign"]).size() == 3).any()
    ties = expected.duplicated(["layer", "neuron", "sign", "activation"])
    assert ties.any(), "equal activations are among those tested"
    for budget, shards in ((1, 1), (40, 1), (4096, 1), (40, 2), (4096, 4)):
        contexts, _ = streamed(decoder, texts, SETTINGS, budget, shards)
        frames_equal(contexts, expected)


@pytest.mark.parametrize(("family", "site"), [("llama", "gate"), ("phi3", "up"), ("gpt2", "up")])
def test_preactivations_are_an_option(family, site):
    decoder = resolve(tiny_model(family, dtype=torch.float64))
    texts = read_texts(tiny_tokenizer())
    settings = SETTINGS.model_copy(update={"site": site, "first_positions": 0})
    expected = naive_contexts(naive_values(decoder, texts, site), texts, settings)
    frames_equal(streamed(decoder, texts, settings)[0], expected)


def test_a_gate_that_is_not_there_is_one_sentence():
    decoder = resolve(tiny_model("gpt2"))
    settings = SETTINGS.model_copy(update={"site": "gate"})
    with pytest.raises(UserError, match=r"neurons\.contexts\.site is 'gate'.* use up or activ"):
        streamed(decoder, read_texts(tiny_tokenizer()), settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_activity_equals_numpy_on_all_values(family):
    decoder = resolve(tiny_model(family, dtype=torch.float64))
    texts = read_texts(tiny_tokenizer())
    values = naive_values(decoder, texts, "activation")
    _, found = streamed(decoder, texts, SETTINGS, budget=40, shards=2)
    frame = found.to_pandas()
    assert (frame["tokens"] == sum(len(ids) - 1 for ids in texts.ids)).all()
    for layer, per_text in values.items():
        counted = np.concatenate([array[1:] for array in per_text]).astype(np.float64)
        own = frame[frame["layer"] == layer]
        np.testing.assert_allclose(own["mean"], counted.mean(0), atol=1e-9)
        np.testing.assert_allclose(own["std"], counted.std(0), atol=1e-7)
        np.testing.assert_allclose(own["density"], (counted > np.float32(0.05)).mean(0))
        np.testing.assert_allclose(own["negative_density"], (counted < -np.float32(0.05)).mean(0))
        np.testing.assert_array_equal(own["minimum"], counted.min(0).astype(np.float32))
        np.testing.assert_array_equal(own["maximum"], counted.max(0).astype(np.float32))
        for share, name in ((0.01, "q01"), (0.1, "q10"), (0.5, "q50"), (0.9, "q90"), (0.99, "q99")):
            exact = np.quantile(counted, share, axis=0, method="inverted_cdf")
            error = np.abs(own[name] - exact)
            assert (error <= np.maximum(np.abs(exact) / 16, 2**-10) + 1e-7).all(), name


def test_the_same_tables_whatever_the_shards(tmp_path):
    decoder = resolve(tiny_model("llama", dtype=torch.float64))
    texts = read_texts(tiny_tokenizer())
    files = []
    for shards in (1, 3):
        contexts, sums = streamed(decoder, texts, SETTINGS, shards=shards)
        for schema, table in ((CONTEXTS, contexts), (ACTIVITY, sums)):
            files.append(tmp_path / f"{shards}-{len(files) % 2}.parquet")
            write_table(files[-1], schema, table, {})
    assert files[0].read_bytes() == files[2].read_bytes()
    # Sums of float64 numbers depend on their order in the last digit.
    one, three = (pd.read_parquet(file) for file in (files[1], files[3]))
    pd.testing.assert_frame_equal(one, three, rtol=1e-12)


def test_the_compiled_reduction_equals_the_plain_one():
    generator = torch.Generator().manual_seed(0)
    plain, compiled = activity.Activity.empty(70), activity.Activity.empty(70)
    for texts, tokens, first in ((3, 9, 1), (1, 2, 0), (8, 4, 3)):
        sizes = torch.randn(texts, tokens, 70, generator=generator).mul(6).exp2()
        values = torch.randn(texts, tokens, 70, generator=generator).sign() * sizes
        values[values.abs() < 0.01] = 0.0
        values[0, -1, :5] = values[0, -2, :5]
        peaks = [
            take(sums, values, first, 0.5)
            for take, sums in ((activity.take_torch, plain), (take_compiled, compiled))
        ]
        assert torch.equal(peaks[0].values, peaks[1].values)
        assert torch.equal(peaks[0].positions, peaks[1].positions)
    assert plain.tokens == compiled.tokens == 24 + 2 + 8
    for name in ("beyond", "extremes", "counts"):
        assert torch.equal(getattr(plain, name), getattr(compiled, name)), name
    torch.testing.assert_close(plain.sums, compiled.sums, rtol=1e-12, atol=0)


def test_compiled_insertion_equals_the_plain_one():
    generator = torch.Generator().manual_seed(1)
    plain, compiled = (Strongest(9, 3, before=2, after=1) for _ in range(2))
    place = 5
    for texts, tokens in ((1, 2), (2, 5), (7, 3), (4, 4)):
        # Few different values, so that texts are often equal; and texts without any of a sign.
        values = torch.randint(-2, 3, (texts, tokens, 9), generator=generator).float()
        values[0] = 0
        peaks = activity.take_torch(activity.Activity.empty(9), values, 1, 0.1)
        # In any order of the places.
        places = place + torch.randperm(texts, generator=generator)
        place += texts
        plain.take_torch(values, peaks, places)
        compiled.take(values, peaks, places)
        assert torch.equal(plain.keys, compiled.keys)
        there = plain.keys > -1
        assert torch.equal(plain.positions[there], compiled.positions[there])
        torch.testing.assert_close(
            plain.windows[there], compiled.windows[there], rtol=0, atol=0, equal_nan=True
        )
    assert there.all()


def test_every_value_lies_in_the_bin_whose_middle_is_near():
    values = torch.tensor([0.0, -0.0, 1.0, 1.124, 1.126, -3.0, 2.0**-11, 2.0**-10, 1e6, -1e6])
    middles = torch.tensor(activity.bin_middles())[activity.bins_of(values)]
    assert middles[:2].tolist() == [0, 0]
    assert middles[6] == 0
    near = values[[2, 3, 4, 5, 7]].double()
    assert ((middles[[2, 3, 4, 5, 7]] - near).abs() <= near.abs() / 16).all()
    assert middles[2] == middles[3] != middles[4]
    assert middles[8] == -middles[9] == middles.max()


def frame_of(lines, prefix="r"):
    return pd.DataFrame({"text_id": [f"{prefix}{i}" for i in range(len(lines))], "text": lines})


def chosen(lines, budget=10_000, seed=0, max_length=64, shortest=2):
    generator = np.random.default_rng(seed)
    return choose_texts(
        tiny_tokenizer(), lines, budget, max_length, shortest, generator, "neurons.contexts.tokens"
    )


def test_texts_are_counted_in_used_and_set_aside():
    texts = {"a": frame_of([*LINES, LINES[0]], "a"), "b": frame_of([LINES[1], "new text"], "b")}
    read = chosen(texts, max_length=6)
    assert read.counts["texts"] == 14
    # Cut at 6 tokens, two more texts are copies of each other.
    assert (read.counts["copies"], read.counts["short"]) == (4, 1)
    assert read.counts["read"] == len(read.ids) == 9
    assert read.counts["read"] + read.counts["copies"] + read.counts["short"] == 14
    assert read.counts["tokens"] == sum(map(len, read.ids))
    assert max(map(len, read.ids)) == 6
    assert read.datasets == sorted(read.datasets)
    places = [
        (name, int(text_id[1:])) for name, text_id in zip(read.datasets, read.text_ids, strict=True)
    ]
    assert places == sorted(places)


def test_the_budget_is_kept_and_the_seed_chooses():
    texts = {"a": frame_of(LINES)}
    few = chosen(texts, budget=40)
    assert few.counts["tokens"] <= 40
    assert few.counts["unread"] == 11 - few.counts["read"] - few.counts["short"]
    assert few.text_ids == chosen(texts, budget=40).text_ids
    assert {tuple(chosen(texts, 40, seed).text_ids) for seed in range(6)} != {tuple(few.text_ids)}
    with pytest.raises(UserError, match=r"a: of 11 texts none .* raise neurons\.contexts\.tokens"):
        chosen(texts, budget=1)


def test_shards_have_every_text_once_and_know_their_place():
    read = chosen({"a": frame_of(LINES)})
    shards = [read.shard(shard, 3) for shard in (1, 2, 3)]
    assert [name for part in shards for name in part.text_ids] == read.text_ids
    assert [part.first for part in shards] == [0, len(shards[0].ids), len(shards[0].ids) * 2]


def test_more_shards_than_texts_are_refused():
    loaded = LoadedModel(resolve(tiny_model("llama")), tiny_tokenizer(), {})
    texts = {"a": frame_of(LINES[:3])}
    three = SETTINGS.model_copy(update={"shards": 3})
    assert len(context_texts(loaded, texts, three, 0).ids) == 3
    with pytest.raises(
        UserError,
        match=r"neurons\.contexts\.shards is 4, but 3 texts are read of a; lower it, or raise "
        r"neurons\.contexts\.tokens",
    ):
        context_texts(loaded, texts, SETTINGS.model_copy(update={"shards": 4}), 0)
