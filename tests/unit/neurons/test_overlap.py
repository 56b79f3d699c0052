"""Words against contexts on tables made by hand, and against a count neuron by neuron."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from llm_anatomy.config.contexts import Contexts
from llm_anatomy.neurons.overlap import Pairing, another, compare_layer, end_of, overlap_table

SETTINGS = Contexts(shuffles=4, resamples=50)
ROW = ("neuron", "matrix", "sign", "rank", "token_id")


def decoded(words):
    """A vocabulary: (matrix, end) -> tokens of every neuron."""
    rows = [
        (neuron, matrix, end, rank, token)
        for (matrix, end), neurons in words.items()
        for neuron, tokens in enumerate(neurons)
        for rank, token in enumerate(tokens, 1)
    ]
    return pa.Table.from_pandas(pd.DataFrame(rows, columns=ROW))


def fires(contexts):
    """Contexts: (neuron, sign) -> pairs of a token and the next one (None at the end of a text)."""
    rows = []
    for (neuron, sign), pairs in contexts.items():
        for rank, (here, following) in enumerate(pairs, 1):
            ids = [900, here] if following is None else [900, here, following, 901]
            rows.append((neuron, sign, rank, 7, here, 6, ids))
    columns = ["neuron", "sign", "rank", "position", "token_id", "start", "token_ids"]
    types = [pa.int32(), pa.int8(), pa.int16(), pa.int32(), pa.int32(), pa.int32()]
    columns_of = zip(*rows, strict=True)
    arrays = [
        pa.array(values, kind)
        for values, kind in zip(columns_of, [*types, pa.list_(pa.int32())], strict=True)
    ]
    return pa.table(dict(zip(columns, arrays, strict=True)))


WORDS = {
    ("up", 1): [[1, 2], [3, 4], [5, 6]],
    ("up", -1): [[11, 12], [13, 14], [15, 16]],
    ("gate", 1): [[21, 22], [23, 24], [25, 26]],
    ("gate", -1): [[31, 32], [33, 34], [35, 36]],
}
FIRES = {
    (0, 1): [(1, 50), (2, 1), (60, 2), (70, None)],
    (0, -1): [(21, 50), (50, 22)],
    (1, 1): [(13, 60), (60, 14)],
    (2, -1): [(15, 60)],
}


def compared(words=WORDS, contexts=FIRES, settings=SETTINGS, seed=0):
    return compare_layer(3, decoded(words), fires(contexts), settings, seed)


def test_words_and_contexts_by_hand():
    rows, overlap = compared()
    table = rows.set_index(["matrix", "sign", "neuron"])
    first = table.loc["up", 1, 0]
    assert (first["contexts"], first["here"], first["next"]) == (4, 0.5, 0.5)
    assert (first["opposite_here"], first["end"], first["verdict"]) == (0, 1, "agree")
    # The token of one of its contexts, and the one behind the other, are of the other end.
    assert table.loc["up", 1, 1][["here", "opposite_here", "opposite_next"]].tolist() == [
        0,
        0.5,
        0.5,
    ]
    assert table.loc["up", 1, 1]["verdict"] == "contradict"
    # One context is too few for a verdict.
    assert table.loc["up", -1, 2][["contexts", "here"]].tolist() == [1, 1]
    assert table.loc["up", -1, 2]["verdict"] == "neither"
    # A gate is open at either sign.
    assert table.loc["gate", -1, 0][["end", "verdict"]].tolist() == [1, "agree"]
    assert len(table) == 2 * 4, "neurons without contexts of a sign have no row of it"
    share = overlap.shares[Pairing("up", 1, 1, "next")]
    # At the end of a text nothing follows.
    assert share[0] == pytest.approx(2 / 3)
    assert share[1] == 0
    assert math.isnan(share[2])


def test_the_end_of_a_sign():
    assert [end_of("down", s, "activation") for s in (1, -1)] == [1, -1]
    assert [end_of("gate", s, "activation") for s in (1, -1)] == [1, 1]
    assert [end_of("gate", s, "gate") for s in (1, -1)] == [1, -1]


def test_another_is_never_the_same_and_each_once():
    for seed in range(20):
        other = another(5, np.random.default_rng(seed))
        assert sorted(other) == list(range(5))
        assert (other != np.arange(5)).all()


def test_the_control_takes_the_words_of_others():
    """Each neuron fires on its own word alone: the share is 1, the control 0."""
    own = {("down", 1): [[n] for n in range(6)], ("down", -1): [[n + 100] for n in range(6)]}
    contexts = {(n, 1): [(n, 200), (n, None)] for n in range(6)}
    table = overlap_table([compared(own, contexts)[1]], 50, 0)
    row = table[table["layer"].notna()].set_index(["end", "sign", "place"]).loc[1, 1, "here"]
    assert row[["neurons", "share", "shuffled", "difference_low"]].tolist() == [6, 1, 0, 1]
    # All fire on one word that all decode to: the control is as good.
    same = {("down", 1): [[7]] * 6, ("down", -1): [[8]] * 6}
    everywhere = {(n, 1): [(7, 200)] for n in range(6)}
    table = overlap_table([compared(same, everywhere)[1]], 50, 0)
    row = table.set_index(["end", "sign", "place"]).loc[1, 1, "here"].iloc[0]
    assert row[["share", "shuffled", "difference", "difference_high"]].tolist() == [1, 1, 0, 0]


def random_layer(seed, neurons=40):
    rng = np.random.default_rng(seed)
    words = {
        (matrix, end): rng.integers(20, size=(neurons, 3)).tolist()
        for matrix in ("up", "down")
        for end in (1, -1)
    }
    contexts = {
        (neuron, sign): [tuple(int(t) for t in rng.integers(20, size=2)) for _ in range(4)]
        for neuron in range(neurons)
        for sign in (1, -1)
    }
    return words, contexts


def test_shares_equal_a_count_neuron_by_neuron():
    words, contexts = random_layer(0)
    _, overlap = compared(words, contexts)
    for (matrix, end, sign, place), shares in overlap.shares.items():
        at = ("here", "next").index(place)
        for neuron, share in enumerate(shares):
            own = set(words[matrix, end][neuron])
            hits = [pair[at] in own for pair in contexts[neuron, sign]]
            assert share == pytest.approx(sum(hits) / 4)


def test_a_layer_without_contexts_takes_nothing_from_the_others():
    """Of two layers one has neurons that never fire: together they are what the other is."""
    firing = compared(*random_layer(0))[1]
    nothing = {cell: np.full_like(values, np.nan) for cell, values in firing.shares.items()}
    none = {cell: np.full_like(values, np.nan) for cell, values in firing.shuffles.items()}
    silent = replace(firing, layer=7, shares=nothing, shuffled=nothing, shuffles=none)
    alone = overlap_table([firing], 50, 0).query("layer.isna()")
    both = overlap_table([firing, silent], 50, 0)
    together = both.query("layer.isna()")
    assert not (both["layer"] == 7).any()
    for name in ("neurons", "share", "shuffled", "shuffled_low", "difference"):
        assert together[name].to_numpy() == pytest.approx(alone[name].to_numpy()), name
    assert together["low"].notna().all()
    assert overlap_table([silent], 50, 0).empty


def test_random_words_are_within_the_shuffles_and_seeds_differ():
    layers = [compared(*random_layer(seed), seed=seed)[1] for seed in range(3)]
    table = overlap_table(layers, 100, 0)
    assert (table["neurons"] == table["layer"].isna().map({True: 120, False: 40})).all()
    assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()
    covered = (table["difference_low"] <= 0) & (table["difference_high"] >= 0)
    assert covered.mean() > 0.8
    again = [compared(*random_layer(0), seed=seed)[1].shuffles for seed in (0, 0, 1)]
    cell = Pairing("up", 1, 1, "here")
    assert again[0][cell].tolist() == again[1][cell].tolist() != again[2][cell].tolist()
    for seed, same in ((0, True), (1, False)):
        assert overlap_table(layers, 100, seed)["low"].equals(table["low"]) is same


def test_a_layer_without_contexts_leaves_the_others_as_they_are():
    full = compared(*random_layer(0))[1]
    words, _ = random_layer(1)
    bare = compared(words, {(0, -1): [(1, 2)]})[1]
    assert np.isnan(bare.shares["up", 1, 1, "here"]).all()
    table = overlap_table([full, bare], 50, 0)
    numbers = table.drop(columns="layer").select_dtypes("number")
    assert numbers.notna().all(axis=None)
    rows = table[(table["sign"] == 1) & table["layer"].isna()]
    alone = overlap_table([full], 50, 0)
    alone = alone[(alone["sign"] == 1) & alone["layer"].isna()]
    for column in ("neurons", "share", "shuffled", "shuffled_low", "difference"):
        assert rows[column].tolist() == alone[column].tolist(), column
