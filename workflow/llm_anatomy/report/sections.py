"""From exhibits to numbered figures and tables, one section per study."""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llm_anatomy.artefacts.remake import remake_command
from llm_anatomy.errors import UserError
from llm_anatomy.figures.exhibit import DPI, Exhibit, StudyExhibits, figure_rule
from llm_anatomy.report.shown import ShownTable, TableReader
from llm_anatomy.report.studies import STUDIES, Study

# CSS pixels per inch of a figure: a full-width figure is as wide as the text.
_SCREEN_PIXELS = 100
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Image:
    """A picture inside the page.

    Attributes:
        uri: Its bytes as a data URI.
        alt: What it looks like, in words.
        width: Width on the page, in CSS pixels.
        height: Height on the page, in CSS pixels.
    """

    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Item:
    """One exhibit as it stands in the report.

    Attributes:
        label: `Figure 3`, `Table 2`; a figure with a table below it has the figure's label.
        anchor: Its fragment in the page.
        title: A short heading.
        paragraphs: The caption.
        image: The figure, if there is one.
        table: The table or its source, if there is one.
    """

    label: str
    anchor: str
    title: str
    paragraphs: tuple[str, ...]
    image: Image | None
    table: ShownTable | None


@dataclass(frozen=True)
class Section:
    """A study's section."""

    study: Study
    items: tuple[Item, ...]


def make_front(exhibits: StudyExhibits, reader: TableReader) -> tuple[Item, ...]:
    """The figures of the first page, which are the report's first.

    Raises:
        UserError: As `make_sections`.
    """
    return tuple(
        _item(exhibit, f"Figure {number}", exhibits, reader)
        for number, exhibit in enumerate(exhibits.exhibits, 1)
    )


def make_sections(
    exhibits: Sequence[StudyExhibits], reader: TableReader, figures: int = 0
) -> list[Section]:
    """One section per study in reading order, figures and tables numbered through the report.

    Args:
        exhibits: Each study's.
        reader: Reads the tables shown.
        figures: How many figures stand before them.

    Raises:
        UserError: A figure or table is missing, damaged or newer than its exhibit.
    """
    by_name = {study.study: study for study in exhibits}
    tables = 0
    sections = []
    for study in STUDIES:
        if study.name not in by_name:
            continue
        shown = by_name[study.name]
        items = []
        for exhibit in shown.exhibits:
            if exhibit.figure is not None:
                figures += 1
                label = f"Figure {figures}"
            else:
                tables += 1
                label = f"Table {tables}"
            items.append(_item(exhibit, label, shown, reader))
        sections.append(Section(study, tuple(items)))
    return sections


def embed_png(path: Path, alt: str) -> Image:
    """A PNG file as a data URI, with its size on the page.

    Raises:
        UserError: The file is missing or is not a PNG.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {_remake(path)}") from error
    if len(data) < 24 or data[:8] != _PNG_SIGNATURE:
        raise UserError(f"{path} is not a PNG picture; {_remake(path)}")
    width, height = struct.unpack(">II", data[16:24])
    return Image(
        uri=f"data:image/png;base64,{base64.b64encode(data).decode()}",
        alt=alt,
        width=round(width * _SCREEN_PIXELS / DPI),
        height=round(height * _SCREEN_PIXELS / DPI),
    )


def _item(exhibit: Exhibit, label: str, shown: StudyExhibits, reader: TableReader) -> Item:
    image = None
    if exhibit.figure is not None:
        image = embed_png(shown.folder / exhibit.figure, exhibit.alt or exhibit.title)
    paragraphs = (" ".join(part.split()) for part in exhibit.caption.split("\n\n"))
    return Item(
        label=label,
        anchor=label.lower().replace(" ", "-"),
        title=exhibit.title,
        paragraphs=tuple(part for part in paragraphs if part),
        image=image,
        table=reader.show(exhibit, shown.content_sha256),
    )


def _remake(path: Path) -> str:
    return f"remake it with: {remake_command(figure_rule(path.parent), path.parent)}"
