"""Tables of many neurons, one layer at a time, and the names of chunks that hold a layer's."""

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TableSchema, read_pieces


def layer_chunk(layer: int, number: int) -> str:
    """The name of a chunk with neurons of a layer, as the page builds it."""
    return f"layer-{layer:02d}-{number:04d}"


def by_layer(
    tables: Collection, schema: TableSchema, model: str, names: tuple[str, ...] | None
) -> Iterator[tuple[int, pa.Table]]:
    """Rows of a table whose layers stand one after the other, one layer at a time."""
    waiting: list[pa.Table] = []
    current = None
    for piece in read_pieces(tables.path(schema, model=model), schema, names):
        layers = piece.column("layer").to_numpy()
        starts = [0, *(np.flatnonzero(np.diff(layers)) + 1).tolist(), len(layers)]
        for start, stop in itertools.pairwise(starts):
            if current is not None and layers[start] != current:
                yield current, pa.concat_tables(waiting)
                waiting = []
            current = int(layers[start])
            waiting.append(piece.slice(start, stop - start))
    if current is not None:
        yield current, pa.concat_tables(waiting)
