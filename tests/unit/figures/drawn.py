"""What a figure shows, read back from matplotlib as plain numbers and words."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from llm_anatomy.figures.exhibit import Exhibit, set_style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection, PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

Points = list[tuple[float, float]]


def draws(*functions: Callable[..., Exhibit | Iterator[Exhibit]]) -> Callable[[Any], Any]:
    """Mark a test of what a figure, or the rows of a table, show."""
    return _marked("draws", functions)


def says(*functions: Callable[..., Exhibit | Iterator[Exhibit]]) -> Callable[[Any], Any]:
    """Mark a test of the numbers in a caption."""
    return _marked("says", functions)


def _marked(kind: str, functions: tuple[Callable[..., Any], ...]) -> Callable[[Any], Any]:
    def mark(test: Any) -> Any:
        setattr(
            test, kind, {f"{function.__module__}.{function.__name__}" for function in functions}
        )
        return test

    return mark


def by_title(exhibits: Iterator[Exhibit]) -> dict[str, Exhibit]:
    """Exhibits, drawn in the project's style, by title; no title may stand for two."""
    set_style()
    shown = list(exhibits)
    titles = [exhibit.title for exhibit in shown]
    assert len(set(titles)) == len(titles), titles
    return dict(zip(titles, shown, strict=True))


def panels(exhibit: Exhibit) -> list[Axes]:
    """The visible panels, without colour bars, in reading order."""
    assert exhibit.drawn is not None
    return [
        axes
        for axes in exhibit.drawn.axes
        if axes.get_visible() and axes.get_label() != "<colorbar>"
    ]


def colour_bars(exhibit: Exhibit) -> list[str]:
    """What stands at the colour bars."""
    assert exhibit.drawn is not None
    bars = [axes for axes in exhibit.drawn.axes if axes.get_label() == "<colorbar>"]
    return [bar.get_ylabel() or bar.get_xlabel() for bar in bars]


def words(axes: Axes) -> tuple[str, str, str]:
    """Title, x label and y label."""
    return axes.get_title(), axes.get_xlabel(), axes.get_ylabel()


def points(line: Line2D) -> Points:
    return [
        (float(x), float(y))
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        if not np.isnan(float(y))
    ]


def colour(artist: Any) -> str:
    """Colour of a line, a bar, a band or a dot."""
    if isinstance(artist, Collection):
        return to_hex(artist.get_facecolor()[0])
    return to_hex(artist.get_color() if isinstance(artist, Line2D) else artist.get_facecolor())


def lines(axes: Axes) -> dict[str, Points]:
    """Labelled lines."""
    named = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    return {str(line.get_label()): points(line) for line in named}


def line_of(axes: Axes, label: str) -> Line2D:
    (found,) = [line for line in axes.get_lines() if line.get_label() == label]
    return found


class Unlabelled(NamedTuple):
    colour: str
    style: str
    points: Points


def unlabelled(axes: Axes) -> list[Unlabelled]:
    """Lines without a label, in the order drawn."""
    plain = [line for line in axes.get_lines() if str(line.get_label()).startswith("_")]
    return [Unlabelled(colour(x), str(x.get_linestyle()), points(x)) for x in plain]


def levels(axes: Axes) -> list[float]:
    """Heights of the horizontal lines across a panel."""
    found = [points(x) for x in axes.get_lines() if list(x.get_xdata()) == [0, 1]]
    return [at[0][1] for at in found if at[0][1] == at[1][1]]


def bands(axes: Axes) -> list[tuple[str, list[tuple[float, float, float]]]]:
    """Filled bands: colour and (x, low, high)."""
    found = []
    for band in axes.collections:
        if isinstance(band, PathCollection | QuadMesh):
            continue
        vertices = np.concatenate([path.vertices for path in band.get_paths()])
        at: dict[float, list[float]] = {}
        for x, y in vertices:
            at.setdefault(float(x), []).append(float(y))
        found.append((colour(band), [(x, min(ys), max(ys)) for x, ys in sorted(at.items())]))
    return found


def bars(axes: Axes) -> Points:
    """Middle and height of upright bars."""
    return [(p.get_x() + p.get_width() / 2, p.get_height()) for p in axes.patches]


def bars_across(axes: Axes) -> dict[str, float]:
    """Lengths of lying bars by what stands at the axis."""
    at = axes.get_yticks()
    # Panels that share the axis show its words once.
    names = dict(zip(at, axes.yaxis.get_major_formatter().format_ticks(at), strict=True))
    return {
        names[round(p.get_y() + p.get_height() / 2, 6)]: float(p.get_width()) for p in axes.patches
    }


def heat(axes: Axes) -> pd.DataFrame:
    """A seaborn heat map's cells with the words at its sides."""
    (mesh,) = [found for found in axes.collections if isinstance(found, QuadMesh)]
    cells = np.ma.filled(mesh.get_array().astype(float), np.nan)
    # The first row is the lowest where the axis is not turned round.
    assert axes.yaxis_inverted()
    return pd.DataFrame(cells, _ticks(axes.yaxis), _ticks(axes.xaxis))


def _ticks(axis: Axis) -> list[str]:
    """What stands at an axis; panels that share it show it once."""
    ticks = axis.get_major_formatter().format_ticks(axis.get_major_locator().locs)
    return [str(tick) for tick in ticks]


def image(axes: Axes) -> list[list[float]]:
    """An image's cells, the first row first."""
    (found,) = axes.images
    cells: list[list[float]] = np.asarray(found.get_array(), float).tolist()
    return cells


def dots(axes: Axes) -> list[tuple[str, float, float]]:
    """Colour and place of every scattered dot."""
    found = []
    for cloud in axes.collections:
        if not isinstance(cloud, PathCollection):
            continue
        places, colours = np.asarray(cloud.get_offsets(), float), cloud.get_facecolor()
        for index, (x, y) in enumerate(places):
            found.append((to_hex(colours[index % len(colours)]), float(x), float(y)))
    return found


def error_bars(axes: Axes) -> dict[str, list[tuple[float, float, float, float]]]:
    """By label: x, value, low and high."""
    found = {}
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, (across,) = container.lines
        found[str(container.get_label())] = [
            (x, y, float(low[1]), float(high[1]))
            for (x, y), (low, high) in zip(points(line), across.get_segments(), strict=True)
        ]
    return found


def legend(legend: Legend | None) -> dict[str, str]:
    """What a legend names, with the colours beside."""
    assert legend is not None
    return {
        text.get_text(): colour(handle)
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }


def figure_legend(exhibit: Exhibit) -> dict[str, str]:
    assert exhibit.drawn is not None
    (found,) = exhibit.drawn.legends
    return legend(found)


def rows_shown(exhibit: Exhibit, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows and columns that the report will show."""
    rows = slice(None) if exhibit.rows is None else list(exhibit.rows)
    return frame.iloc[rows][list(exhibit.columns or frame.columns)]
