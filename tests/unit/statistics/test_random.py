"""Keyed draws: each purpose has its own stream, and nothing that ran before matters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_anatomy.statistics.random import keyed_generator, seeded_generator
from llm_anatomy.statistics.sampling import sample_rows


def test_the_same_key_gives_the_same_draws_whatever_ran_before() -> None:
    first = keyed_generator(3, "noise", 7).normal(size=5)
    keyed_generator(3, "other").normal(size=100)
    np.random.default_rng().normal(size=3)
    assert np.array_equal(keyed_generator(3, "noise", 7).normal(size=5), first)


@pytest.mark.parametrize(
    "other", [(4, "noise", 7), (3, "shuffle", 7), (3, "noise", 8), (3, "noise")]
)
def test_any_part_of_the_key_gives_other_draws(other: tuple[int | str, ...]) -> None:
    key = (3, "noise", 7)
    assert not np.array_equal(
        keyed_generator(*key).normal(size=5), keyed_generator(*other).normal(size=5)
    )


def test_parts_do_not_run_together() -> None:
    first, second = keyed_generator("ab", "c"), keyed_generator("a", "bc")
    assert first.integers(1 << 60) != second.integers(1 << 60)
    assert keyed_generator(1, 2).integers(1 << 60) != keyed_generator("1", 2).integers(1 << 60)


def test_places_of_one_seed_have_draws_of_their_own() -> None:
    places = [(0,), (1,), (0, 1), (0, 1, 2), (0, 2, 1)]
    draws = {place: seeded_generator(*place).integers(1 << 60) for place in places}
    assert len(set(draws.values())) == len(places)
    assert seeded_generator(0, 1, 2).integers(1 << 60) == draws[0, 1, 2]


def test_positions_are_streams_of_their_own() -> None:
    draws = [keyed_generator(0, "noise", position=place).normal() for place in range(20)]
    assert len(set(draws)) == 20
    assert draws[7] == keyed_generator(0, "noise", position=7).normal()


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
