"""What a study shows in the report: figures, tables and captions, in one small file per study.

Every study has one function `figures(tables, scope)`, which yields its exhibits in the order shown;
a notebook calls it as the stage does, which writes PNG files and `exhibits.json` into one folder.
The report shows the figures as they are and reads the named rows and columns of the tables again,
so a number in the report is the table's number. Colours are told apart with every common form of
colour blindness, and the bytes of a figure depend only on what it shows.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pyarrow.parquet as pq
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, MaxNLocator

from llm_anatomy.artefacts.documents import read_sealed, sealed, write_json
from llm_anatomy.artefacts.files import atomic_folder, sha256_file
from llm_anatomy.artefacts.remake import remake_command
from llm_anatomy.artefacts.results import result_name, result_path
from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import atomic_path, content_hashes

EXHIBITS_FILE = "exhibits.json"
DPI = 160
# Inches. A figure of FULL_WIDTH fills a text column; heights are each figure's own.
FULL_WIDTH = 7.2
HALF_WIDTH = 3.5
# Widths of a paper: one of its two columns, and the whole text.
WIDTHS = {"column": HALF_WIDTH, "text": FULL_WIDTH}
# What a file of each format says of itself: no date and no version.
_SILENT: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
# Okabe and Ito's palette as seaborn ships it; name colours by their index so studies agree.
PALETTE: tuple[str, ...] = tuple(sns.color_palette("colorblind").as_hex())
# Perceptually even maps that stay readable in grey: amounts, and differences around zero.
SEQUENTIAL = "cividis"
DIVERGING = "PuOr_r"
# Labels of axes that count layers, whose ticks are whole numbers.
LAYERS = re.compile(r"\blayer( k)?$")


@dataclass(frozen=True)
class Beside:
    """Columns of another table that stand beside an exhibit's own.

    Attributes:
        table: The other Parquet file.
        key: A column of both tables, each value of which the other has once.
        columns: What to show of it.
    """

    table: Path
    key: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Exhibit:
    """One thing that the report shows.

    Attributes:
        title: A short heading.
        caption: What is seen, with numbers computed from the tables, and what the paper saw.
            Plain text; a blank line starts a new paragraph.
        figure: File name of a PNG in the study's figure folder; none for a table alone.
        table: Parquet file that the figure or the shown rows come from.
        columns: Columns to show; none shows every column.
        rows: Positions of the rows to show, in the order shown, such as `frame.index[:10]` after a
            filter or a sort; `None` shows every row and `()` shows none, which suits a figure whose
            table is too long: its source is still named.
        alt: What the figure looks like, for readers who cannot see it; the title when left out.
        beside: What another table says of the shown rows.
        drawn: The figure itself, until it is written.
    """

    title: str
    caption: str
    figure: str | None = None
    table: Path | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[int, ...] | None = None
    alt: str = ""
    beside: Beside | None = None
    drawn: Figure | None = None

    @property
    def tables(self) -> list[Path]:
        """Every table that is shown."""
        beside = None if self.beside is None else self.beside.table
        return [table for table in (self.table, beside) if table is not None]


@dataclass(frozen=True)
class StudyExhibits:
    """The exhibits of one study, as read back.

    Attributes:
        study: Name of the study.
        folder: Folder of the PNG files.
        exhibits: In the order shown.
        content_sha256: Content hash of every table shown, by name, when the exhibits were made.
    """

    study: str
    folder: Path
    exhibits: tuple[Exhibit, ...]
    content_sha256: dict[str, str]


def set_style() -> None:
    """Give every figure the same fonts, colours and lines; call it before the first figure."""
    sns.set_theme(context="paper", style="ticks", palette=list(PALETTE))
    plt.rcParams.update(
        {
            "figure.figsize": (FULL_WIDTH, 3.2),
            "figure.dpi": DPI,
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            # Ships with matplotlib, so figures have the same bytes on every machine.
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.titlesize": 9.5,
            "axes.labelsize": 9,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "legend.fontsize": 8,
            "legend.frameon": False,
            # Ticks say what they stand for: no `+1.2476e1` at the end of an axis.
            "axes.formatter.useoffset": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.6,
            "image.cmap": SEQUENTIAL,
        }
    )


def set_width(figure: Figure, width: str | float) -> None:
    """Make a figure as wide as a paper's column or text; letters keep their size in points.

    Args:
        figure: The figure, whose height stays.
        width: A name of `WIDTHS`, or inches.

    Raises:
        UserError: There is no such width.
    """
    inches = WIDTHS.get(width) if isinstance(width, str) else width
    if inches is None or not 0 < inches < float("inf"):
        raise UserError(f"there is no width {width!r}; give {' or '.join(WIDTHS)}, or inches")
    figure.set_size_inches(inches, figure.get_figheight())


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, atomically and with bytes that hold no date or version; close it.

    Args:
        figure: The figure.
        path: A file whose name ends in `.png`, `.pdf` or `.svg`.

    Raises:
        UserError: The name ends otherwise.
    """
    path = Path(path)
    form = path.suffix.lower().removeprefix(".")
    if form not in _SILENT:
        raise UserError(
            f"{path} names no format for a figure; let it end in .{', .'.join(_SILENT)}"
        )
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            # Heat maps have ticks of their own.
            if LAYERS.search(axis.get_label_text()) and isinstance(
                axis.get_major_locator(), AutoLocator
            ):
                axis.set_major_locator(MaxNLocator("auto", integer=True))
    # Publishers want outlines that can be read as letters; names inside an SVG come from a salt.
    with (
        mpl.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "llm-anatomy"}),
        atomic_path(path) as temporary,
    ):
        figure.savefig(temporary, format=form, dpi=DPI, metadata=_SILENT[form])
    plt.close(figure)


def write_figures(folder: Path, study: str, exhibits: Iterable[Exhibit]) -> None:
    """Draw a study's exhibits, in this project's style, and write them as its figure folder.

    Args:
        folder: The folder to make; what was there before goes.
        study: Name of the study.
        exhibits: Drawn one after the other, so that one figure at a time is in memory.

    Raises:
        ValueError: As `write_exhibits`.
    """
    set_style()
    with atomic_folder(folder) as temporary:
        write_exhibits(temporary, study, exhibits)


def write_exhibits(folder: Path, study: str, exhibits: Iterable[Exhibit]) -> None:
    """Write a study's exhibits into a folder.

    Args:
        folder: The folder, which holds the PNG files that are not drawn here.
        study: Name of the study.
        exhibits: In the order in which the report shows them.

    Raises:
        ValueError: A figure is not in the folder, a table lacks a column or row, or an exhibit
            shows neither a figure nor a table.
    """
    written = []
    for exhibit in exhibits:
        if exhibit.drawn is not None:
            if exhibit.figure is None:
                raise ValueError(f"the exhibit '{exhibit.title}' is drawn but has no file name")
            save_figure(exhibit.drawn, folder / exhibit.figure)
        written.append(replace(exhibit, drawn=None))
        _check(folder, written[-1])
    tables = sorted({table for exhibit in written for table in exhibit.tables})
    document = {
        "study": study,
        "content_sha256": content_hashes(tables),
        "exhibits": [_as_stored(exhibit) for exhibit in written],
        "figures_sha256": {path.name: sha256_file(path) for path in sorted(folder.glob("*.png"))},
    }
    # Row numbers may be numpy's, which JSON does not know.
    plain = json.loads(json.dumps(document, default=int))
    write_json(folder / EXHIBITS_FILE, sealed(plain))


def read_exhibits(folder: Path) -> StudyExhibits:
    """Read a study's exhibits back.

    Raises:
        UserError: The folder holds no readable exhibits; the sentence says how to make them.
    """
    path = folder / EXHIBITS_FILE
    try:
        document = read_sealed(path)
        for name, expected in document["figures_sha256"].items():
            if sha256_file(folder / name) != expected:
                raise ValueError(f"the figure {name} is not the one that was drawn")
        exhibits = tuple(
            Exhibit(
                title=item["title"],
                caption=item["caption"],
                figure=item["figure"],
                table=None if item["table"] is None else result_path(item["table"]),
                columns=tuple(item["columns"]),
                rows=None if item["rows"] is None else tuple(item["rows"]),
                alt=item["alt"],
                beside=_read_beside(item["beside"]),
            )
            for item in document["exhibits"]
        )
        return StudyExhibits(document["study"], folder, exhibits, document["content_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} or a figure beside it is missing or damaged ({error}); remake it with: "
            f"{remake_command(figure_rule(folder), folder)}"
        ) from error


def figure_rule(folder: Path) -> str:
    """The rule that makes a folder of figures."""
    return "summarise_layers" if folder.name == "anatomy" else f"conclude_{folder.name}"


def _read_beside(item: dict[str, Any] | None) -> Beside | None:
    if item is None:
        return None
    return Beside(result_path(item["table"]), item["key"], tuple(item["columns"]))


def _as_stored(exhibit: Exhibit) -> dict[str, Any]:
    stored = asdict(exhibit) | {"table": exhibit.table and result_name(exhibit.table)}
    if exhibit.beside is not None:
        stored["beside"] |= {"table": result_name(exhibit.beside.table)}
    del stored["drawn"]
    return stored


def _check(folder: Path, exhibit: Exhibit) -> None:
    if exhibit.figure is None and exhibit.table is None:
        raise ValueError(f"the exhibit '{exhibit.title}' shows neither a figure nor a table")
    if exhibit.figure is not None and not (folder / exhibit.figure).is_file():
        raise ValueError(f"the exhibit '{exhibit.title}' names {exhibit.figure}, not in {folder}")
    if exhibit.table is None:
        return
    file = pq.ParquetFile(exhibit.table)
    missing = set(exhibit.columns) - set(file.schema_arrow.names)
    if missing:
        raise ValueError(f"{exhibit.table} lacks the columns {sorted(missing)}")
    if exhibit.beside is not None:
        other = exhibit.beside
        missing = {other.key, *other.columns} - set(pq.read_schema(other.table).names)
        if missing or other.key not in exhibit.columns:
            raise ValueError(f"{other.table} cannot stand beside by '{other.key}': {missing}")
    count = file.metadata.num_rows
    outside = [row for row in exhibit.rows or () if not 0 <= row < count]
    if outside:
        raise ValueError(f"{exhibit.table} has {count} rows; there is no row {outside[0]}")
