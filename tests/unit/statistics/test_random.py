"""Keyed draws: each purpose has its own stream, and nothing that ran before matters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_anatomy.statistics.random import (
    Key,
    Purpose,
    keyed_generator,
    keyed_rank,
    library_seed,
)
from llm_anatomy.statistics.sampling import sample_rows


def test_the_same_key_gives_the_same_draws_whatever_ran_before() -> None:
    first = keyed_generator(3, Purpose.NOISE, 7).normal(size=5)
    keyed_generator(3, Purpose.SHUFFLE).normal(size=100)
    np.random.default_rng().normal(size=3)
    assert np.array_equal(keyed_generator(3, Purpose.NOISE, 7).normal(size=5), first)


@pytest.mark.parametrize(
    ("seed", "purpose", "key"),
    [
        (4, Purpose.NOISE, (7,)),
        (3, Purpose.SHUFFLE, (7,)),
        (3, Purpose.NOISE, (8,)),
        (3, Purpose.NOISE, ()),
        (3, Purpose.NOISE, ("7",)),
        (3, Purpose.NOISE, (7.0,)),
    ],
)
def test_any_part_of_the_key_gives_other_draws(
    seed: int, purpose: Purpose, key: tuple[Key, ...]
) -> None:
    for draw in (
        lambda *of: keyed_generator(*of).integers(1 << 60),
        keyed_rank,
        library_seed,
    ):
        assert draw(3, Purpose.NOISE, 7) == draw(3, Purpose.NOISE, 7)
        assert draw(seed, purpose, *key) != draw(3, Purpose.NOISE, 7)


def test_every_purpose_is_a_stream_of_its_own() -> None:
    draws = {keyed_generator(0, purpose).integers(1 << 60) for purpose in Purpose}
    assert len(draws) == len(Purpose)


def test_parts_do_not_run_together() -> None:
    first, second = (keyed_rank(0, Purpose.NOISE, *key) for key in (("ab", "c"), ("a", "bc")))
    assert first != second
    assert keyed_rank(1, Purpose.NOISE, 2) != keyed_rank(12, Purpose.NOISE)


def test_a_number_of_a_table_draws_like_the_number_that_it_is() -> None:
    column = np.array([5], dtype=np.int32)
    assert keyed_rank(0, Purpose.NOISE, column.tolist()[0]) == keyed_rank(0, Purpose.NOISE, 5)
    half = np.array([0.5])[0]
    assert keyed_rank(0, Purpose.NOISE, half) == keyed_rank(0, Purpose.NOISE, 0.5)


def test_positions_are_streams_of_their_own() -> None:
    draws = [keyed_generator(0, Purpose.NOISE, position=place).normal() for place in range(20)]
    assert len(set(draws)) == 20
    assert draws[7] == keyed_generator(0, Purpose.NOISE, position=7).normal()


def test_seeds_of_libraries_fit_into_32_bits_and_use_them() -> None:
    seeds = [library_seed(seed, Purpose.FOREST) for seed in range(50)]
    assert len(set(seeds)) == 50
    assert 0 <= min(seeds) < 1 << 29
    assert 7 << 29 < max(seeds) < 1 << 32


@given(st.data())
def test_a_sample_holds_what_is_wanted_and_is_cut_by_the_order(data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(data.draw(st.integers(0, 12)))))
    wanted = data.draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    limit = data.draw(st.integers(0, 14))
    chosen = sample_rows(order, wanted, limit)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(limit, len(order))
    if sum(wanted) <= limit:
        assert {row for row in order if wanted[row]} <= set(chosen)
        others = [row for row in order if not wanted[row]]
        assert {r for r in chosen if not wanted[r]} == set(others[: len(chosen) - sum(wanted)])
    else:
        assert all(wanted[row] for row in chosen)
    assert sample_rows(order, wanted, None) == sorted(order)
