"""A folder of results in a notebook: its tables as frames, its claims, its figures.

Nothing is read before it is asked for, and what is read is verified.
"""

import ast
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from llm_anatomy.artefacts.documents import read_sealed
from llm_anatomy.artefacts.manifest import NAME as MANIFEST
from llm_anatomy.artefacts.results import RESULTS
from llm_anatomy.config.root import ALL_STUDIES
from llm_anatomy.data.values import suggest
from llm_anatomy.errors import UserError
from llm_anatomy.tables.anatomy import ANATOMY
from llm_anatomy.tables.claims import ALL_CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TABLE_KEY, TableSchema
from llm_anatomy.tables.registry import ALL_TABLES
from llm_anatomy.tables.row_groups import Condition

# Where the figure of the report's first page lies among those of the studies.
_FIRST_PAGE = "anatomy"


def open_results(folder: str | Path = RESULTS) -> "Results":
    """Open a folder of results, or a folder that holds one named `results`.

    Args:
        folder: Where a run left them.

    Raises:
        UserError: There is no such folder, or it is called something else: the places of tables in
            it are read from their paths, which begin with `results/`.

    Examples:
        >>> import llm_anatomy as la
        >>> results = la.open("results")  # doctest: +SKIP
        >>> results.table("facts/layer_importance", model="smollm2-135m-instruct")  # doctest: +SKIP
    """
    path = Path(folder)
    found = path if path.resolve().name == RESULTS else path / RESULTS
    if not found.is_dir():
        raise UserError(
            f"{folder} is no folder named '{RESULTS}' and holds none; give the folder of a run"
        )
    return Results(found)


class Results:
    """The tables, claims and figures of a run; `la.open` makes one.

    Args:
        folder: A folder named `results`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r}: {len(self._collection.paths)} tables)"

    def tables(self) -> pd.DataFrame:
        """Every table that is there: its name, whose it is, its rows and its file.

        Returns:
            Columns `table`, `model`, `dataset` and every other wildcard of a path (empty where a
            table is not told apart by it), `rows`, `path`.
        """
        wildcards = self._wildcards()
        rows = []
        for schema in ALL_TABLES.values():
            for owner in self._collection.owners(schema):
                path = self._collection.path(schema, **owner)
                whose = dict.fromkeys(wildcards, "") | owner
                count = pq.read_metadata(path).num_rows
                rows.append({"table": schema.name, **whose, "rows": count, "path": str(path)})
        return pd.DataFrame(rows, columns=["table", *wildcards, "rows", "path"])

    def table(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        where: Sequence[Condition] = (),
        /,
        **owner: str | Sequence[str],
    ) -> pd.DataFrame:
        """One table, or those of several models or data sets in one frame.

        Args:
            name: The table's name, such as `facts/layer_importance`; `tables()` lists them, and
                `llm-anatomy explain NAME` says what its columns mean.
            columns: Columns to read; all when left out.
            where: Conditions on rows, such as `[("layer", "=", 3)]`; all must hold.
            owner: Whose: `model="m"`, `dataset=["a", "b"]`. What is left open becomes a column.

        Raises:
            UserError: There is no such table in these results, or its file is damaged.
            ValueError: A column, condition or owner that the table does not have.
        """
        schema = self._schema(name)
        if not self._collection.owners(schema, **owner):
            there = ", ".join(self.tables()["table"].drop_duplicates())
            raise UserError(f"{self.folder} holds no table '{name}'; it holds {there}")
        return self._collection.joined(schema, columns, where, **owner)

    def provenance(self, name: str, **owner: str) -> dict[str, Any]:
        """What one table's numbers depend on: model, revision, weights, settings, versions."""
        return self._collection.provenance(self._schema(name), **owner)

    @property
    def claims(self) -> pd.DataFrame:
        """Every claim of the papers with what was measured, whether it holds, and the evidence."""
        return self._collection.frame(ALL_CLAIMS)

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return sorted(path.parent.name for path in self.folder.glob("models/*/provenance.json"))

    def figures(self, study: str) -> pd.DataFrame:
        """The figures of a study, or of `anatomy`, in the report's order.

        Returns:
            Columns `name`, `title`, `caption`, `table`.
        """
        from llm_anatomy.figures.exhibit import read_exhibits

        self._check_shown(study)
        return pd.DataFrame(
            [
                {
                    "name": Path(exhibit.figure).stem,
                    "title": exhibit.title,
                    "caption": exhibit.caption,
                    "table": str(exhibit.table or ""),
                }
                for exhibit in read_exhibits(self.folder / "figures" / study).exhibits
                if exhibit.figure
            ],
            columns=["name", "title", "caption", "table"],
        )

    def figure(self, study: str, name: str, width: str | float | None = None) -> Any:
        """Draw a figure of the report again, from the tables, by the report's own function.

        Args:
            study: geometry, toxicity, neurons, patching or facts; or anatomy, the first page's.
            name: The figure's name or title; `figures(study)` lists them.
            width: `column` or `text` of a paper, or inches; as in the report when left out.

        Returns:
            A `matplotlib.figure.Figure`, to change as any other one; `la.save_figure` writes it.

        Raises:
            UserError: There is no such figure or width, or the run has not written its manifest.
        """
        from matplotlib.pyplot import close

        from llm_anatomy.figures.exhibit import set_style, set_width

        self._check_shown(study)
        set_style()
        names: list[str] = []
        for exhibit in self._exhibits(study):
            if exhibit.drawn is not None and exhibit.figure is not None:
                if name in (exhibit.title, exhibit.figure, Path(exhibit.figure).stem):
                    if width is not None:
                        set_width(exhibit.drawn, width)
                    return exhibit.drawn
                names.append(Path(exhibit.figure).stem)
                # Else a notebook would keep, and show, every figure before the one asked for.
                close(exhibit.drawn)
        raise UserError(f"{study} has no figure '{name}'; {suggest(name, names)}")

    @cached_property
    def _collection(self) -> Collection:
        ours = [path for path in sorted(self.folder.rglob("*.parquet")) if _table(path)]
        return Collection(ours, ALL_TABLES.values())

    def _schema(self, name: str) -> TableSchema:
        if name not in ALL_TABLES:
            raise UserError(f"there is no table '{name}'; {suggest(name, list(ALL_TABLES))}")
        return ALL_TABLES[name]

    def _wildcards(self) -> list[str]:
        found = dict.fromkeys(name for s in ALL_TABLES.values() for name in s.wildcards)
        return sorted(found, key=lambda name: (name not in ("model", "dataset"), name != "model"))

    def _check_shown(self, study: str) -> None:
        shown = (*ALL_STUDIES, _FIRST_PAGE)
        if study not in shown:
            raise UserError(f"there is no study '{study}'; {suggest(study, shown)}")

    def _exhibits(self, study: str) -> Any:
        """What the report shows of a study, drawn one after the other."""
        from llm_anatomy.figures.anatomy import anatomy_figures
        from llm_anatomy.notebook.studies import exhibits_of

        if study == _FIRST_PAGE:
            models = [owner["model"] for owner in self._collection.owners(ANATOMY)]
            return anatomy_figures(self._collection, models)
        return exhibits_of(study, *self._concluded(study))

    def _concluded(self, study: str) -> tuple[Collection, str]:
        """The tables and settings from which a run drew a study, as its manifest records them."""
        path = self.folder / MANIFEST
        name = f"{study}/claims.parquet"
        try:
            entry = read_sealed(path)["files"][name]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} does not say how {study} was concluded; finish the run: llm-anatomy run"
            ) from error
        files = [file for file in entry["inputs"] if file.endswith(".parquet")]
        tables = [self.folder.parent / file for file in files]
        # Snakemake records a text as Python writes it.
        values = [ast.literal_eval(value) for value in entry["parameters"]]
        settings = next(value for value in values if value.startswith("{"))
        return Collection(tables, ALL_TABLES.values()), settings


def _table(path: Path) -> bool:
    """Whether a file says that it is a table of this project; half-written files do not."""
    if path.name.startswith("."):
        return False
    try:
        metadata = pq.read_schema(path).metadata or {}
    except Exception:  # a damaged file of ours is told by reading it
        return True
    return metadata.get(TABLE_KEY, b"").decode(errors="replace") in ALL_TABLES
