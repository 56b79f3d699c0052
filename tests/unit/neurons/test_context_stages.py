"""The stages of contexts on a tiny model: what a user finds in the tables."""

from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.contexts import Contexts
from llm_anatomy.stages import find_contexts, join_contexts
from llm_anatomy.tables.contexts import ACTIVITY, CONTEXTS
from llm_anatomy.tables.core import read_provenance, read_table

from tests.unit.neurons.tools import PRECISION

SETTINGS = Contexts(tokens=200, max_length=64, count=2, before=2, after=2)


def found(model: Path, texts: Path, folder: Path, shards: int = 1) -> tuple[Path, Path]:
    """Contexts and activity of a model, found by so many jobs."""
    asked = SETTINGS.model_copy(update={"shards": shards})
    parts = [(folder / f"{k}-c.parquet", folder / f"{k}-a.parquet") for k in range(shards)]
    for shard, (contexts, activity) in enumerate(parts, 1):
        stage = find_contexts.ContextStage(
            seed=0, precision=PRECISION, contexts=asked, datasets=["mine"], shard=shard
        )
        find_contexts.run(stage, model=model, texts=(texts,), contexts=contexts, activity=activity)
    if shards == 1:
        return parts[0]
    joined = folder / "contexts.parquet", folder / "activity.parquet"
    join_contexts.run(
        join_contexts.JoinContextsStage(count=asked.count),
        context_parts=tuple(part[0] for part in parts),
        activity_parts=tuple(part[1] for part in parts),
        contexts=joined[0],
        activity=joined[1],
    )
    return joined


@pytest.fixture(scope="module")
def whole(tiny: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return found(tiny, texts, tmp_path_factory.mktemp("whole"))


def test_every_neuron_has_its_contexts_with_the_words_around(whole: tuple[Path, Path]) -> None:
    table = read_table(whole[0], CONTEXTS)
    assert table.groupby("layer")["neuron"].nunique().tolist() == [48, 48, 48]
    assert not table.duplicated(["layer", "neuron", "sign", "text_id"]).any()
    assert table.groupby(["layer", "neuron", "sign"]).size().max() == 2
    assert (table["activation"] * table["sign"] > 0).all()
    assert (table["position"] >= 1).all(), "first positions do not count"
    row = table[table["position"] == 3].iloc[0]
    assert (row["before"], row["token"], row["after"]) == (" capital of", " France", " is Paris")
    assert row["values"][2] == row["activation"]
    read = read_provenance(whole[0])["read"]
    assert read["tokens"] <= 200
    assert read["texts"] == 12 == read["read"] + read["unread"]
    assert read["positions_left_out"] == read["read"]
    activity = read_table(whole[1], ACTIVITY)
    assert (activity["tokens"] == read["tokens"] - read["read"]).all()
    # The strongest context is the largest activation of all.
    strongest = table[(table["sign"] == 1) & (table["rank"] == 1)]
    both = strongest.merge(activity, on=["layer", "neuron"])
    assert len(both) > 100
    assert (both["activation"] == both["maximum"]).all()


def test_two_jobs_find_what_one_finds(
    tiny: Path, texts: Path, tmp_path: Path, whole: tuple[Path, Path]
) -> None:
    contexts, activity = found(tiny, texts, tmp_path, shards=2)
    one, two = read_table(whole[0], CONTEXTS), read_table(contexts, CONTEXTS)
    # Texts of one beginning reach the same activation, but for rounding: not told apart by text.
    same = ["layer", "neuron", "sign", "rank", "position", "token", "before", "after"]
    pd.testing.assert_frame_equal(one[same], two[same])
    pd.testing.assert_series_equal(one["activation"], two["activation"], rtol=1e-5)
    pd.testing.assert_frame_equal(
        read_table(whole[1], ACTIVITY), read_table(activity, ACTIVITY), rtol=1e-5, atol=1e-7
    )
