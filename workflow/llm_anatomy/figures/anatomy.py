"""The figure on the report's first page: what each layer of a model does, study by study."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, Exhibit
from llm_anatomy.tables.anatomy import ANATOMY
from llm_anatomy.tables.collection import Collection

# Studies in reading order, and what their panel shows.
PANELS = {
    "geometry": "intrinsic dimension\nof attention",
    "neurons": "closest token\n(cosine)",
    "patching": "score when layer k\nis manipulated",
    "facts": "importance (nat)",
}
SERIES = {"ffn": "FFN"}


def anatomy_figures(tables: Collection, models: Sequence[str]) -> Iterator[Exhibit]:
    """One exhibit for every model of whose layers anything was measured."""
    for model in models:
        frame = tables.frame(ANATOMY, model=model)
        if not frame.empty:
            yield anatomy_exhibit(frame, model, tables.path(ANATOMY, model=model))


def anatomy_exhibit(frame: pd.DataFrame, model: str, source: Path) -> Exhibit:
    """A panel for every study, one above the other, layers along the common axis."""
    studies = [study for study in PANELS if (frame["study"] == study).any()]
    height = 0.5 + 1.35 * len(studies)
    figure, axes = plt.subplots(
        len(studies), 1, figsize=(FULL_WIDTH, height), sharex=True, squeeze=False
    )
    for axis, study in zip(axes[:, 0], studies, strict=True):
        _panel(axis, frame[frame["study"] == study])
        axis.set_ylabel(PANELS[study])
    axes[-1, 0].set_xlabel("layer")
    figure.align_ylabels()
    caption = f"{model}, layer by layer. " + " ".join(
        _sentence(study, frame[frame["study"] == study]) for study in studies
    )
    return Exhibit(
        title=f"Anatomy of {model}",
        caption=caption,
        figure=f"anatomy-{model}.png",
        table=source,
        rows=(),
        alt=f"{len(studies)} panels over the layers of {model}: {', '.join(studies)}",
        drawn=figure,
    )


def _panel(axis: Axes, frame: pd.DataFrame) -> None:
    for index, (series, own) in enumerate(frame.groupby("series", sort=False)):
        colour = PALETTE[index % len(PALETTE)]
        label = SERIES.get(str(series), str(series))
        axis.plot(own["layer"], own["value"], "o-", ms=2.5, color=colour, label=label)
        if own["low"].notna().all():
            axis.fill_between(own["layer"], own["low"], own["high"], color=colour, alpha=0.15)
    if frame["value"].min() < 0 < frame["value"].max():
        axis.axhline(0, color="0.7", linewidth=0.8)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _sentence(study: str, frame: pd.DataFrame) -> str:
    """What a panel shows, in numbers of its rows."""
    about = ", ".join(dict.fromkeys(frame["about"]))
    best = frame.loc[frame.groupby("series", sort=False)["value"].idxmax()]
    peaks = ", ".join(
        f"{SERIES.get(series, series)} in layer {layer} ({value:.3g})"
        for series, layer, value in zip(
            best["series"].astype(str), best["layer"], best["value"], strict=True
        )
    )
    if study == "geometry":
        return (
            "Geometry: mean intrinsic dimension at a text's last token, the middle 90 % of texts "
            f"shaded; largest: {peaks}."
        )
    if study == "neurons":
        return (
            "Neurons: mean over all neurons of the largest cosine of a weight vector with a "
            f"token's row of the head; largest: {peaks}."
        )
    if study == "patching":
        last = frame[frame["layer"] == frame["layer"].max()]
        ends = ", ".join(f"{row.series} {row.value:.3g}" for row in last.itertuples())
        return (
            f"Patching ({about}): score when the previous tokens are manipulated from layer k on "
            f"or at it, with 95 % intervals; at the last layer: {ends}."
        )
    return (
        f"Facts ({about}): what attention and FFN layers add to the answer's log-probability, "
        f"mean over facts; largest: {peaks}."
    )
