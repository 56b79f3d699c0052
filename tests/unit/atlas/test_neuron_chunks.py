"""The atlas's neurons: every token and statistic of the map stands in the chunk of its neuron."""

import numpy as np
import pytest
from llm_anatomy.atlas import contexts, neurons
from llm_anatomy.atlas.contexts import context_chunks
from llm_anatomy.atlas.neurons import neuron_chunks
from llm_anatomy.tables import core

from tests.unit.atlas.made import context_tables, neuron_tables

SIGNS = (1, -1)


@pytest.fixture(params=[(15_000, 1 << 17), (40, 50)], ids=["whole", "in pieces"])
def chunks(request, tmp_path, monkeypatch):
    """The chunks of a small map by name, its rows and its statistics."""
    size, group = request.param
    monkeypatch.setattr(neurons, "CHUNK_TOKENS", size)
    monkeypatch.setattr(core, "ROW_GROUP_ROWS", group)
    tables, vocabulary, statistics = neuron_tables(tmp_path)
    return dict(neuron_chunks(tables, "m")), vocabulary, statistics


def test_every_token_of_every_end_stands_in_its_neurons_chunk(chunks):
    found, vocabulary, statistics = chunks
    index = found["index"]
    rows = {(r["layer"], r["neuron"], r["matrix"], r["sign"], r["rank"]): r for r in vocabulary}
    numbers = {(r["layer"], r["neuron"], r["matrix"]): r for r in statistics}
    seen = 0
    for place in index["layers"]:
        for neuron in range(place["neurons"]):
            number, row = divmod(neuron, place["block"])
            block = found[f"layer-{place['layer']:02d}-{number:04d}"]
            assert block["neurons"][row] == neuron
            for m, matrix in enumerate(index["matrices"]):
                own = numbers[place["layer"], neuron, matrix]
                for name, values in block["statistics"].items():
                    at = values[row * len(index["matrices"]) + m]
                    assert at == pytest.approx(own[name], rel=1e-3, abs=1e-9)
                for side, sign in enumerate(SIGNS):
                    start = ((row * len(index["matrices"]) + m) * 2 + side) * index["k"]
                    for rank in range(1, index["k"] + 1):
                        stored = rows[place["layer"], neuron, matrix, sign, rank]
                        assert block["tokens"][block["token"][start + rank - 1]] == stored["token"]
                        logit = block["logit"][start + rank - 1]
                        assert logit == pytest.approx(stored["logit"], abs=1e-3)
                        seen += 1
    assert seen == len(vocabulary)


def test_every_token_is_found_by_its_word_with_its_z_score(chunks):
    found, vocabulary, statistics = chunks
    index, words = found["index"], found["words"]
    assert words["words"] == ["a", "b"]
    assert sum(words["counts"]) == sum(row["token"] is not None for row in vocabulary)
    numbers = {(r["layer"], r["neuron"], r["matrix"]): r for r in statistics}
    rows = {(r["layer"], r["neuron"], r["matrix"], r["sign"], r["rank"]): r for r in vocabulary}
    piece = found["words-0000"]
    for row in range(sum(words["counts"])):
        layer, neuron = divmod(piece["neuron"][row], 1_000_000)
        matrix, side = index["matrices"][piece["end"][row] // 2], piece["end"][row] % 2
        stored = rows[layer, neuron, matrix, SIGNS[side], piece["rank"][row]]
        word = int(row >= words["counts"][0])
        assert piece["variants"][word][piece["variant"][row]] == stored["token"]
        own = numbers[layer, neuron, matrix]
        z = SIGNS[side] * (stored["logit"] - own["mean"]) / own["std"]
        assert piece["z"][row] / 10 == pytest.approx(z, abs=0.0501)


def test_a_map_that_lacks_a_row_is_refused(tmp_path):
    tables, vocabulary, _ = neuron_tables(tmp_path)
    core.write_table(
        tables.path(neurons.VOCABULARY, model="m"),
        neurons.VOCABULARY,
        neurons.VOCABULARY.frame(vocabulary[:-1]),
        {},
    )
    with pytest.raises(ValueError, match="layer 1 of the map has 125 rows"):
        list(neuron_chunks(tables, "m"))


def test_contexts_stand_token_by_token_beside_their_neuron(tmp_path, monkeypatch):
    monkeypatch.setattr(contexts, "SHOWN", 2)
    tables, rows = context_tables(tmp_path)
    found = dict(context_chunks(tables, "m", lambda token: f"<{token}>"))
    index = found["index"]
    assert index["datasets"] == ["remarks"]
    shown = 0
    for layer, place in index["layers"].items():
        for neuron in range(place["neurons"]):
            block = found[f"layer-{int(layer):02d}-{neuron // place['block']:04d}"]
            own = block["neurons"][str(neuron)]
            wanted = [r for r in rows if (r["layer"], r["neuron"]) == (int(layer), neuron)]
            wanted = [r for r in wanted if r["rank"] <= 2]
            assert len(own["contexts"]) == len(wanted)
            for context, row in zip(own["contexts"], wanted, strict=True):
                texts = [block["tokens"][code] for code in context["tokens"]]
                assert texts == [f"<{token}>" for token in row["token_ids"]]
                assert np.allclose(context["values"], row["values"], rtol=5e-3)
                assert context["sign"] == row["sign"]
                assert context["strongest"] == row["position"] - row["start"]
                assert context["values"][context["strongest"]] == pytest.approx(row["activation"])
                shown += 1
            assert own["neighbours"]["measure"] == ["up", "activation"]
            assert own["neighbours"]["other_neuron"] == [(neuron + 1) % 60] * 2
    assert shown == 2 * 59 * 4
