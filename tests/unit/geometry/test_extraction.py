"""One batched pass against one text at a time in float64, on several families."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.config.geometry import Extraction
from llm_anatomy.geometry import gathering
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.gathering import extract_activations
from llm_anatomy.geometry.partition import partition, token_statistics
from llm_anatomy.geometry.spline import spline_features
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.batching import Batch, token_budget_batches
from llm_anatomy.model.run.loading import LoadedModel

from tests.tiny import VOCAB, tiny_model, tiny_tokenizer
from tests.unit.geometry import reference

FAMILIES = ["llama", "gpt2", "gpt_neox", "gemma", "phi3", "opt", "qwen2"]


def decoder_of(family: str, dtype: torch.dtype = torch.float32) -> Decoder:
    return resolve(tiny_model(family, dtype=dtype))


def random_ids(lengths: list[int]) -> list[list[int]]:
    rng = np.random.default_rng(sum(lengths))
    return [rng.integers(1, VOCAB, size=length).tolist() for length in lengths]


def batched_features(decoder: Decoder, ids: list[list[int]], budget: int) -> np.ndarray:
    planes = partitions(decoder)
    features = np.empty((len(ids), decoder.n_layers, 7))
    for batch in token_budget_batches(ids, budget):
        read = read_activations(decoder, planes, batch, Request())
        for index, row in enumerate(batch.rows):
            length = len(ids[row])
            features[row] = spline_features(
                read.active[:, index, :length].numpy(),
                read.distance[:, index, :length].numpy(),
                np.array([length]),
            )[0]
    return features


def naive_features(decoder: Decoder, ids: list[int]) -> np.ndarray:
    layers = reference.preactivations(decoder, ids)
    weights = [block.preactivation.weight(torch.float64).numpy() for block in decoder.blocks]
    return np.array([reference.features(h, w) for h, w in zip(layers, weights, strict=True)])


@pytest.mark.parametrize("family", FAMILIES)
def test_one_text_equals_the_naive_float64_loop(family: str) -> None:
    decoder = decoder_of(family)
    for ids in random_ids([1, 7, 23]):
        actual = batched_features(decoder, [ids], budget=1)[0]
        np.testing.assert_allclose(actual, naive_features(decoder, ids), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma"])
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5), budget=st.integers(1, 40))
@settings(max_examples=6, deadline=None)
def test_features_do_not_depend_on_the_batch(family: str, lengths: list[int], budget: int) -> None:
    # In float64, so that the smallest distances are not lost in the model's own rounding.
    decoder = decoder_of(family, torch.float64)
    ids = random_ids(lengths)
    actual = batched_features(decoder, ids, budget)
    expected = np.stack([naive_features(decoder, row) for row in ids])
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma", "gemma2", "bloom"])
def test_counts_equal_an_eager_reference(family: str) -> None:
    decoder = decoder_of(family)
    ids = random_ids([5, 9, 13])
    maps = [reference.attention(decoder, row) for row in ids]
    planes = partitions(decoder)
    for batch in token_budget_batches(ids, budget=64):
        for asked in ("last", "all"):
            request = Request(attention_tokens=asked, absolute_threshold=0.15)
            read = read_activations(decoder, planes, batch, request)
            assert read.relative_counts is not None
            assert read.absolute_counts is not None
            for index, row in enumerate(batch.rows):
                length = len(ids[row])
                queries = [length - 1] if asked == "last" else range(length)
                for layer, heads in enumerate(maps[row]):
                    for slot, query in enumerate(queries):
                        for head, weights in enumerate(heads):
                            actual = read.relative_counts[layer, index, slot, head]
                            assert actual == reference.count(weights[query], 0.1, relative=True)
                            actual = read.absolute_counts[layer, index, slot, head]
                            assert actual == reference.count(weights[query], 0.15, relative=False)


def test_threshold_zero_counts_every_token_that_may_be_seen() -> None:
    decoder = decoder_of("llama")
    (batch,) = token_budget_batches(random_ids([4, 6]), budget=64)
    request = Request(attention_tokens="last", absolute_threshold=0.0)
    counts = read_activations(decoder, partitions(decoder), batch, request).absolute_counts
    assert counts is not None
    assert counts[:, 0].unique().tolist() == [4]
    assert counts[:, 1].unique().tolist() == [6]


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize("attention", ["none", "last"])
def test_stopping_early_changes_no_number(family: str, attention: str) -> None:
    decoder = decoder_of(family)
    (batch,) = token_budget_batches(random_ids([4, 6]), budget=64)
    planes = partitions(decoder)
    whole = read_activations(decoder, planes, batch, Request(attention_tokens=attention))
    early = Request(attention_tokens=attention, n_layers=2, state_layers=(1,))
    read = read_activations(decoder, planes, batch, early)
    assert torch.equal(read.active, whole.active[:2])
    assert torch.equal(read.distance, whole.distance[:2])
    if attention == "last":
        assert read.relative_counts is not None
        assert whole.relative_counts is not None
        assert torch.equal(read.relative_counts, whole.relative_counts[:2])
    assert read.mean_states.shape == (1, 2, decoder.d_model)


def test_states_are_the_blocks_outputs_without_padding() -> None:
    decoder = decoder_of("llama")
    ids = random_ids([3, 8])
    (batch,) = token_budget_batches(ids, budget=64)
    read = read_activations(decoder, partitions(decoder), batch, Request(state_layers=(0, 1)))
    for index, row in enumerate(batch.rows):
        with torch.no_grad():
            hidden = decoder.body(
                input_ids=torch.tensor([ids[row]]), output_hidden_states=True, use_cache=False
            ).hidden_states
        for layer in (0, 1):
            states = hidden[layer + 1][0]
            torch.testing.assert_close(read.last_states[layer, index], states[-1])
            torch.testing.assert_close(read.mean_states[layer, index], states.mean(0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_before_distances(dtype: torch.dtype) -> None:
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    h = (torch.randn(9, 6, generator=torch.Generator().manual_seed(1)) * 1e-3).to(dtype)
    active, distance = token_statistics(h, partition(weight))
    expected = (h.double().abs() / weight.double().norm(dim=1)).amin(-1)
    torch.testing.assert_close(distance.double(), expected, rtol=1e-6, atol=0)
    assert distance.dtype == torch.float32
    assert torch.equal(active, (h > 0).float().mean(-1))


def test_a_unit_without_weight_cuts_nothing() -> None:
    weight = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    h = torch.tensor([[0.0, 10.0], [0.5, -5.0]])
    active, distance = token_statistics(h, partition(weight))
    assert active.tolist() == [0.5, 0.5]
    assert distance.tolist() == [2.0, 1.0]


def test_chunks_of_any_size_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    h = torch.randn(11, 5, generator=torch.Generator().manual_seed(1))
    whole = token_statistics(h, partition(weight))
    monkeypatch.setattr("llm_anatomy.geometry.partition.CPU_CHUNK_ELEMENTS", 15)
    chunked = token_statistics(h, partition(weight))
    assert torch.equal(whole[0], chunked[0])
    assert torch.equal(whole[1], chunked[1])


@pytest.mark.parametrize("tokens", ["last", "all"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "falcon", "bloom"])
def test_the_padded_batches_of_a_card_give_the_tables_of_single_texts(
    family: str, tokens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a card does, done on a processor: 20 texts of many lengths in few batches."""
    loaded = LoadedModel(decoder_of(family), tiny_tokenizer(), {"model": "tiny"})
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    written = [" ".join(words[: 1 + row % 9]) for row in range(20)]
    texts = pd.DataFrame({"text_id": [f"t{row}" for row in range(20)], "text": written})
    wanted = Extraction(max_length=40, attention_tokens=tokens)
    single = extract_activations(loaded, texts, wanted, 1, "texts")
    sizes: list[int] = []

    def padded(ids: list[list[int]], budget: int, device: torch.device) -> Iterator[Batch]:
        for batch in token_budget_batches(ids, budget, device=device):
            sizes.append(len(set(batch.lengths.tolist())))
            yield batch

    monkeypatch.setattr(gathering, "text_batches", padded)
    found = extract_activations(loaded, texts, wanted, 300, "texts")
    assert max(sizes) > 2
    for one, other in zip(
        (single.traces, single.states), (found.traces, found.states), strict=True
    ):
        for name in one.column_names:
            first, second = one[name].to_pylist(), other[name].to_pylist()
            if name.startswith("l"):
                np.testing.assert_allclose(
                    np.concatenate(second), np.concatenate(first), rtol=1e-4, atol=5e-5
                )
            else:
                assert first == second
    # Random weights attend to no token at a threshold's very edge.
    assert found.attention_counts.equals(single.attention_counts)
