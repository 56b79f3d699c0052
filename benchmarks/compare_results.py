"""Are the tables of two results folders the same, whatever their metadata say?

    python benchmarks/compare_results.py OLD NEW

Tables that moved or were merged since OLD was made are found by `MOVED`, `MERGED`, `RENAMED`.
A line for every table of OLD that differs, with the largest difference of each column, or is gone;
the exit status is 1 if there is any.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

# Since 00ef263: files by their new name, tables that are rows of another, columns.
MOVED = {r"^folds/": "toxicity/folds/", r"/map/0\.": "/"}
MERGED = {"patching/sweep": ("sweeps.parquet", "manipulation")}
RENAMED = {"code_layer": "authors_layer"}


def read(path: Path) -> pd.DataFrame:
    """A table's columns, whatever its metadata says."""
    return pq.ParquetFile(path).read().to_pandas()


def counterpart(old: Path, name: str, new: Path) -> pd.DataFrame | None:
    """The table of the new folder that an old one became; None where there is none."""
    for before, after in MOVED.items():
        name = re.sub(before, after, name)
    if (new / name).exists():
        return read(new / name)
    schema = (pq.read_schema(old / name).metadata or {}).get(b"llm_anatomy.table", b"").decode()
    file, column = MERGED.get(schema, ("", ""))
    merged = (new / name).with_name(file) if file else new
    if not merged.is_file():
        return None
    rows = pq.read_table(merged)
    chosen = rows.filter(pc.field(column) == Path(name).stem).drop_columns(column)
    return chosen.to_pandas()


def differences(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[str]:
    """What differs, a few words per column."""
    before = before.rename(columns={a: b for a, b in RENAMED.items() if b in after})
    if list(before) != list(after):
        yield f"columns: {sorted(set(before) ^ set(after))}"
    if len(before) != len(after):
        yield f"rows: {len(before)} and {len(after)}"
        return
    for name in before.columns.intersection(after.columns):
        one, other = before[name], after[name]
        if pd.api.types.is_float_dtype(one) and pd.api.types.is_float_dtype(other):
            numbers = [part.to_numpy(float, na_value=np.nan) for part in (one, other)]
            gap = np.abs(numbers[0] - numbers[1])
            wrong = int((one.isna() != other.isna()).sum() + (gap > 0).sum())
            if wrong:
                yield f"{name}: {wrong} values, by at most {np.nanmax(gap, initial=0.0):.3g}"
        else:
            wrong = sum(str(a) != str(b) for a, b in zip(one, other, strict=True))
            if wrong:
                yield f"{name}: {wrong} values"


def main() -> int:
    """Compare, print, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    equal, lines = 0, []
    for path in sorted(options.old.rglob("*.parquet")):
        name = path.relative_to(options.old).as_posix()
        after = counterpart(options.old, name, options.new)
        found = ["is gone"] if after is None else list(differences(read(path), after))
        lines += [f"{name}: {'; '.join(found)}"] if found else []
        equal += not found
    sys.stdout.write("\n".join([*lines, f"{equal} tables are equal, {len(lines)} are not", ""]))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
