"""Tables are written whole or not at all, and in pieces as in one go."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.tables import core

PIECES = core.TableSchema(
    name="test/pieces",
    path="results/pieces.parquet",
    rule="make_pieces",
    description="A text and its score.",
    columns=(
        core.Column("text_id", pa.string(), "Which text."),
        core.Column("score", pa.float64(), "Its score."),
    ),
)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 30), max_size=4), group=st.integers(1, 40))
def test_a_table_written_in_pieces_has_the_bytes_of_one_written_whole(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], group: int
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    rows = pd.DataFrame({"text_id": [f"t{i}" for i in range(30)], "score": np.arange(30.0)})
    edges = [0, *sorted(cuts), 30]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "ROW_GROUP_ROWS", group)
        core.write_table(folder / "whole.parquet", PIECES, rows, {"seed": 1})
        with core.open_table(folder / "pieces.parquet", PIECES, {"seed": 1}) as table:
            for start, end in pairwise(edges):
                table.write(rows[start:end])
    assert (folder / "whole.parquet").read_bytes() == (folder / "pieces.parquet").read_bytes()
    assert core.read_table(folder / "pieces.parquet", PIECES).equals(rows)
    assert len(core.read_content_sha256(folder / "pieces.parquet")) == 64
    sizes = [30 % group or group] if group < 30 else [30]
    stored = pq.ParquetFile(folder / "pieces.parquet").metadata
    found = [stored.row_group(i).num_rows for i in range(stored.num_row_groups)]
    assert found == [group] * (len(found) - 1) + sizes


def test_a_table_without_rows_is_empty_and_one_that_fails_is_not_there(tmp_path: Path) -> None:
    with core.open_table(tmp_path / "empty.parquet", PIECES, {}):
        pass
    assert core.read_table(tmp_path / "empty.parquet", PIECES).empty

    def fail_after_some_rows() -> None:
        with core.open_table(tmp_path / "failed.parquet", PIECES, {}) as table:
            table.write({"text_id": ["a"], "score": [1.0]})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_some_rows()
    assert [path.name for path in tmp_path.iterdir()] == ["empty.parquet"]
