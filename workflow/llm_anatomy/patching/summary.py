"""From example records to curves with intervals, and to the layers at which they change."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray

from llm_anatomy.config.patching import CONTROL, PatchingSummary
from llm_anatomy.patching.metrics import ROUGE
from llm_anatomy.statistics.intervals import percentile_interval, wilson_interval
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.patching import CURVES, DEPTHS

# Scores with a clean baseline that a manipulation can only lower or keep.
SCORES = ("correct", "exact_match", "f1", *ROUGE)
OUTCOMES = ("original", "modified", "neither")
MEASURES = ("gold_logprob", "kl")
NEAR_MAXIMUM = 0.9
# Means of the same shares may differ in their last digit.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Curve:
    """One metric over the layers, example by example.

    Attributes:
        metric: What is averaged.
        layers: Swept layers k, ascending.
        values: Mean over seeds (and donors) of each example at each layer.
        seeds: Seeds averaged over.
        single: Whether each value is one run's, so that a share of examples is a plain share.
        baseline: The clean model's value of each example, or None.
        chance: Highest chance floor, or None.
    """

    metric: str
    layers: ndarray
    values: Float[ndarray, "examples layers"]
    seeds: int
    single: bool
    baseline: Float[ndarray, " examples"] | None
    chance: float | None


def summarise_sweeps(
    sweeps: pd.DataFrame, floors: pd.DataFrame, settings: PatchingSummary, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score curves over the layers, and the layers at which they change.

    Args:
        sweeps: Table `patching/sweeps` of one task.
        floors: Its table `patching/floors`.
        settings: Confidence, resamples and tolerated drops.
        seed: Seed of the resamples.

    Returns:
        Tables `patching/curves` and `patching/depths`, one manipulation after the other.
    """
    highest = floors.groupby("metric")["value"].max()
    chance = {str(metric): float(value) for metric, value in highest.items()}
    is_clean = sweeps["manipulation"] == CONTROL
    clean = sweeps[is_clean]
    # The clean run manipulates nothing, which is k = L.
    n_layers = int(clean["layer"].iloc[0])
    curve_parts: list[dict[str, Any]] = []
    depth_parts: list[dict[str, Any]] = []
    for name, sweep in sweeps[~is_clean].groupby("manipulation", sort=False):
        for strength, one in sweep.groupby("strength", dropna=False, sort=True):
            for subset, records in subset_rows(one, clean):
                named = {
                    "manipulation": name,
                    "strength": None if pd.isna(strength) else strength,
                    "subset": subset,
                }
                curves = curves_of(records, clean, chance)
                bootstrap = Bootstrap(len(curves[0].values), settings, seed)
                for curve in curves:
                    rows = curve_rows(curve, settings, bootstrap, n_layers)
                    curve_parts += [named | row for row in rows]
                depth_parts += [
                    named | row for row in depth_rows(curves, settings, bootstrap, n_layers)
                ]
    return CURVES.frame(curve_parts), DEPTHS.frame(depth_parts)


def curves_of(sweep: pd.DataFrame, clean: pd.DataFrame, floors: Mapping[str, float]) -> list[Curve]:
    """Every metric of one sweep at one strength.

    Args:
        sweep: Records of one manipulation and one strength.
        clean: Records of the clean run.
        floors: Highest chance floor of each metric.
    """
    columns = _metric_columns(sweep)
    single = not sweep.duplicated(["example_id", "layer"]).any()
    curves = []
    for metric, values in columns.items():
        table = (
            sweep[["example_id", "layer"]]
            .assign(value=values.astype(float))
            .groupby(["example_id", "layer"], sort=True)["value"]
            .mean()
            .unstack("layer")
        )
        source = {"original": "correct"}.get(metric, metric)
        baseline = None
        if metric not in ("modified", "neither"):
            by_example = clean.set_index("example_id")[source].astype(float)
            baseline = by_example.loc[table.index].to_numpy()
        curves.append(
            Curve(
                metric,
                table.columns.to_numpy(),
                table.to_numpy(),
                int(sweep["seed"].nunique()),
                single,
                baseline,
                floors.get(source) if metric in (*SCORES, "original") else None,
            )
        )
    return curves


def _metric_columns(sweep: pd.DataFrame) -> dict[str, pd.Series]:
    columns: dict[str, pd.Series] = {}
    if sweep["donor_id"].notna().any():
        original, modified = sweep["correct"].astype(bool), sweep["donor_correct"].astype(bool)
        columns |= {
            "original": original,
            "modified": modified,
            "neither": ~(original | modified),
        }
    else:
        scores = [name for name in SCORES if sweep[name].notna().any()]
        # For extractive answers `correct` repeats the exact match.
        columns |= {
            name: sweep[name] for name in scores if name != "correct" or "exact_match" not in scores
        }
    return columns | {name: sweep[name] for name in MEASURES}


def subset_rows(sweep: pd.DataFrame, clean: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """All records, and those of the examples that the clean model gets right."""
    yield "all", sweep
    right = set(clean.loc[clean["correct"].fillna(False).astype(bool), "example_id"])
    chosen = sweep[sweep["example_id"].isin(right)]
    if len(chosen):
        yield "clean_correct", chosen


class Bootstrap:
    """Resamples of examples: weights of every example in every resample."""

    def __init__(self, examples: int, settings: PatchingSummary, seed: int) -> None:
        generator = keyed_generator(seed, Purpose.PATCHING_CURVES, examples)
        shares = np.full(examples, 1 / examples)
        self.weights = generator.multinomial(examples, shares, size=settings.resamples) / examples
        self.confidence = settings.confidence

    def means(self, values: Float[ndarray, "examples ..."]) -> Float[ndarray, "resamples ..."]:
        """The mean of every resample."""
        resampled: ndarray = np.tensordot(self.weights, values, axes=1)
        return resampled

    def interval(self, statistics: Sequence[float | None]) -> tuple[float | None, float | None]:
        """Percentile interval; None where a tenth of the resamples have no value."""
        known = [value for value in statistics if value is not None]
        if len(known) < 0.9 * len(statistics):
            return None, None
        low, high = percentile_interval(np.array(known), self.confidence)
        return float(low), float(high)


def curve_rows(
    curve: Curve, settings: PatchingSummary, bootstrap: Bootstrap, n_layers: int
) -> list[dict[str, Any]]:
    """Rows of the table `patching/curves`, without the columns that name the sweep."""
    count = len(curve.values)
    means = curve.values.mean(axis=0)
    share = curve.single and set(np.unique(curve.values)) <= {0.0, 1.0} and curve.metric != "kl"
    if share:
        ends = [wilson_interval(round(mean * count), count, settings.confidence) for mean in means]
    else:
        ends = [
            (float(low), float(high))
            for low, high in percentile_interval(
                bootstrap.means(curve.values), settings.confidence
            ).T
        ]
    baseline = None if curve.baseline is None else float(curve.baseline.mean())
    return [
        {
            "metric": curve.metric,
            "layer": int(layer),
            "depth": float(layer / n_layers),
            "layers": n_layers,
            "value": float(mean),
            "low": low,
            "high": high,
            "interval": "wilson" if share else "bootstrap",
            "examples": count,
            "seeds": curve.seeds,
            "baseline": 0.0 if curve.metric == "kl" else baseline,
            "chance": curve.chance,
        }
        for layer, mean, (low, high) in zip(curve.layers, means, ends, strict=True)
    ]


def first_from_which_on(holds: Bool[ndarray, " layers"], layers: ndarray) -> float | None:
    """Smallest layer from which on a condition holds at every swept layer; None if never."""
    failing = np.flatnonzero(~holds)
    first = failing[-1] + 1 if len(failing) else 0
    return float(layers[first]) if first < len(layers) else None


def drop_free_depth(means: ndarray, baseline: float, layers: ndarray, drop: float) -> float | None:
    """Smallest k from which on the score stays at (1 - drop) * baseline or above."""
    return first_from_which_on(means >= (1 - drop) * baseline - ROUNDING, layers)


def chance_depth(lows: ndarray, chance: float, layers: ndarray) -> float | None:
    """Largest k whose interval reaches down to the chance floor; None if no k does."""
    at_chance = np.flatnonzero(lows <= chance)
    return float(layers[at_chance[-1]]) if len(at_chance) else None


def crossover(original: ndarray, modified: ndarray, layers: ndarray) -> float | None:
    """Smallest k from which on the original answer is more frequent than the donor's."""
    return first_from_which_on(original > modified, layers)


def transition_width(original: ndarray, modified: ndarray, layers: ndarray) -> float | None:
    """Layers from the last k with 90 % of the donor's highest share to the original's first."""
    if original.max() <= 0 or modified.max() <= 0:
        return None
    last = layers[np.flatnonzero(modified >= NEAR_MAXIMUM * modified.max())[-1]]
    first = layers[np.flatnonzero(original >= NEAR_MAXIMUM * original.max())[0]]
    return float(first - last)


def depth_rows(
    curves: Sequence[Curve], settings: PatchingSummary, bootstrap: Bootstrap, n_layers: int
) -> list[dict[str, Any]]:
    """Rows of the table `patching/depths`, without the columns that name the sweep."""
    rows = []
    for curve in curves:
        if curve.metric not in (*SCORES, "original") or curve.baseline is None:
            continue
        resampled = bootstrap.means(curve.values)
        baselines = bootstrap.means(curve.baseline)
        for drop in settings.drops:
            statistic = _drop_free(curve.layers, drop)
            value = statistic(curve.values.mean(axis=0), float(curve.baseline.mean()))
            drawn = [statistic(m, float(b)) for m, b in zip(resampled, baselines, strict=True)]
            # k = L manipulates nothing and drops nothing: where no layer will do, that is the end.
            ends = bootstrap.interval([float(n_layers) if k is None else k for k in drawn])
            quantity = f"drop_free_{drop * 100:g}"
            rows.append(_depth_row(curve.metric, quantity, value, ends, n_layers))
        if curve.chance is not None:
            lows = np.array(
                [row["low"] for row in curve_rows(curve, settings, bootstrap, n_layers)]
            )
            value = chance_depth(lows, curve.chance, curve.layers)
            rows.append(_depth_row(curve.metric, "chance", value, (None, None), n_layers))
    by_metric = {curve.metric: curve for curve in curves}
    if "original" in by_metric:
        original, modified = by_metric["original"], by_metric["modified"]
        pairs = list(
            zip(bootstrap.means(original.values), bootstrap.means(modified.values), strict=True)
        )
        for quantity, function in (
            ("crossover", crossover),
            ("transition_width", transition_width),
        ):
            value = function(
                original.values.mean(axis=0), modified.values.mean(axis=0), original.layers
            )
            ends = bootstrap.interval([function(o, m, original.layers) for o, m in pairs])
            ends = (None, None) if value is None else ends
            rows.append(_depth_row("original", quantity, value, ends, n_layers))
    return rows


def _drop_free(layers: ndarray, drop: float) -> Callable[[ndarray, float], float | None]:
    return lambda means, baseline: drop_free_depth(means, baseline, layers, drop)


def _depth_row(
    metric: str,
    quantity: str,
    value: float | None,
    ends: tuple[float | None, float | None],
    n_layers: int,
) -> dict[str, Any]:
    return {
        "metric": metric,
        "quantity": quantity,
        "layer": value,
        "depth": None if value is None else value / n_layers,
        "low": ends[0],
        "high": ends[1],
        "layers": n_layers,
    }
