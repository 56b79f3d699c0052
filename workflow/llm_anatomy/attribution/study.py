"""One relation's units, scored, exchanged and judged: facts in, tables out."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.attribution.areas import JudgedCurve, area_differences, resampled_facts
from llm_anatomy.attribution.experiment import (
    agreement,
    effects_of_units,
    measured_curve,
    random_ranking,
)
from llm_anatomy.attribution.methods import UnitScoring, baseline_of, helpfulness
from llm_anatomy.attribution.pairs import FactPair, halves
from llm_anatomy.attribution.sites import Unit, all_units, sites_of
from llm_anatomy.attribution.vocabulary import defined, vocabulary_scores
from llm_anatomy.config.attribution import (
    ActivationMethod,
    UnitAttribution,
    UnitKind,
    VocabularyMethod,
)
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.progress import Progress
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables import attribution as tables
from llm_anatomy.tables.core import TableSchema

logger = logging.getLogger(__name__)

# Of one fact there is no interval.
LEAST_FACTS = 2
RANDOM = "random"


class UnitStudy(NamedTuple):
    """What came of one relation.

    Attributes:
        frames: The tables of unit attribution.
        counts: Facts given, paired, without a counterfactual, and not needed.
        reasons: Why facts have no counterfactual, counted.
    """

    frames: dict[TableSchema, pd.DataFrame]
    counts: dict[str, int]
    reasons: dict[str, int]


def attribute_units(
    loaded: LoadedModel,
    facts: pd.DataFrame,
    settings: UnitAttribution,
    seed: int,
    batch_tokens: int,
) -> UnitStudy:
    """Score the units of a model on a relation's facts, and put the scores to the test.

    Args:
        loaded: The model.
        facts: The relation's facts, a table `facts/facts`.
        settings: Which units and scores.
        seed: Seed of pairs, halves, samples and intervals.
        batch_tokens: Most tokens in one pass.
    """
    ranked, judged, aside = halves(facts, seed, settings.unequal, settings.max_facts)
    used = len(ranked) + len(judged)
    counts = {
        "facts": len(facts),
        "without_counterfactual": len(aside),
        "not_needed": len(facts) - len(aside) - used,
        "used": used,
    }
    rows: dict[TableSchema, list[Any]] = {schema: [] for schema in tables.TABLES}
    reasons = dict(sorted(Counter(aside.values()).items()))
    if min(len(ranked), len(judged)) < LEAST_FACTS:
        logger.warning(
            "of the two halves of %d facts, %d and %d have a counterfactual in their half (%s), "
            "too few to rank units on some and judge them on others; the tables are empty",
            len(facts),
            len(ranked),
            len(judged),
            "; ".join(f"{number}: {reason}" for reason, number in reasons.items()),
        )
        empty = {schema: schema.frame([]) for schema in rows}
        return UnitStudy(empty, counts | {"used": 0}, reasons)
    total = sum(
        1 + sum(defined(method, kind) for method in settings.methods) for kind in settings.kinds
    )
    with Progress(total, "rankings", "attribute_units") as progress:
        for kind in settings.kinds:
            one = _KindStudy(loaded.decoder, kind, settings, ranked, judged, seed, batch_tokens)
            for schema, added in one.rows(progress).items():
                rows[schema] += added
    frames = {schema: schema.frame(added) for schema, added in rows.items()}
    return UnitStudy(frames, counts, reasons)


class _KindStudy(NamedTuple):
    decoder: Decoder
    kind: UnitKind
    settings: UnitAttribution
    ranked: list[FactPair]
    judged: list[FactPair]
    seed: int
    batch_tokens: int

    def rows(self, progress: Progress) -> dict[TableSchema, list[dict[str, Any]]]:
        """Rows of every table for one kind of units."""
        units, settings = all_units(self.decoder, self.kind), self.settings
        # What is exchanged for what depends neither on the score nor on the facts that judge it.
        noising = UnitScoring(
            "attribution_patching",
            baseline_of(
                self.decoder, self.ranked, sites_of(units), settings.baseline, self.batch_tokens
            ),
            settings.positions,
            settings.contrast,
            settings.steps,
        )
        rows: dict[TableSchema, list[dict[str, Any]]] = {schema: [] for schema in tables.TABLES}
        scores = self._scores(units, noising)
        # Sorted once: what is written, judged and exchanged goes by the same order.
        orders = {
            method: values.mean(0).argsort(descending=True, stable=True).tolist()
            for method, values in scores.items()
        }
        rankings = {m: [units[number] for number in order] for m, order in orders.items()}
        rankings[RANDOM] = random_ranking(units, self.seed)
        drawn = resampled_facts(len(self.judged), settings.resamples, self.seed)
        judged: dict[str, JudgedCurve] = {}
        for method, ranking in rankings.items():
            curve = measured_curve(self.decoder, self.judged, ranking, noising, self.batch_tokens)
            judged[method] = JudgedCurve(curve, drawn)
            progress.advance()
        kind = {"kind": self.kind}
        for method, one in judged.items():
            rows[tables.FAITHFULNESS] += one.rows(kind | {"method": method})
            rows[tables.AREAS].append(one.areas(kind | {"method": method}))
        rows[tables.DIFFERENCES] += area_differences(judged, kind)
        for method, order in orders.items():
            rows[tables.UNIT_SCORES] += self._best(method, units, scores[method], order)
        self._exchange(units, scores, orders, noising, rows)
        return rows

    def _scores(
        self, units: Sequence[Unit], noising: UnitScoring
    ) -> dict[str, Float[Tensor, "facts units"]]:
        """Scores of the units by every method that has a number for them."""
        settings = self.settings
        of_vocabulary: list[VocabularyMethod] = [
            method
            for method in get_args(VocabularyMethod)
            if method in settings.methods and defined(method, self.kind)
        ]
        found: dict[str, Tensor] = {}
        found.update(
            vocabulary_scores(
                self.decoder,
                self.ranked,
                self.kind,
                of_vocabulary,
                settings.exact_increases,
                self.batch_tokens,
            ).items()
        )
        by_activation: list[ActivationMethod] = [
            method for method in get_args(ActivationMethod) if method in settings.methods
        ]
        for method in by_activation:
            scoring = replace(noising, method=method)
            found[method] = helpfulness(
                self.decoder, self.ranked, units, scoring, self.batch_tokens
            )
        return {method: found[method] for method in settings.methods if method in found}

    def _best(
        self, method: str, units: Sequence[Unit], scores: Tensor, order: Sequence[int]
    ) -> list[dict[str, Any]]:
        mean, magnitude = scores.mean(0), scores.abs().mean(0)
        return [
            {
                "kind": self.kind,
                "method": method,
                "rank": rank,
                **_named(units[number]),
                "score": float(mean[number]),
                "mean_abs": float(magnitude[number]),
                "facts": len(scores),
            }
            for rank, number in enumerate(order[: self.settings.kept], start=1)
        ]

    def _exchange(
        self,
        units: Sequence[Unit],
        scores: dict[str, Float[Tensor, "facts units"]],
        orders: dict[str, list[int]],
        noising: UnitScoring,
        rows: dict[TableSchema, list[dict[str, Any]]],
    ) -> None:
        """Exchange the best units of every score and a sample of the others, one by one."""
        settings, facts = self.settings, self.ranked[: self.settings.exact_facts]
        top = {number for order in orders.values() for number in order[: settings.exact_top]}
        drawn = sample_of_layers(units, top, settings.exact_sample, self.seed)
        chosen = sorted(top | drawn)
        if not facts or not chosen:
            return
        exchanged = [units[number] for number in chosen]
        # Every score of what is lost is held against the same losses.
        losses = effects_of_units(self.decoder, facts, exchanged, noising, self.batch_tokens)
        rows[tables.EXACT_LOSSES] += [
            {
                "kind": self.kind,
                **_named(units[number]),
                "chosen": "top" if number in top else "sample",
                "loss": float(loss),
                "facts": len(facts),
            }
            for number, loss in zip(chosen, losses.mean(0), strict=True)
        ]
        for method, values in scores.items():
            if method == "denoising":
                # It estimates what a unit restores alone, which is not what is lost without it.
                continue
            own = values[: len(facts), chosen]
            key = {"kind": self.kind, "method": method}
            rows[tables.AGREEMENT_WITH_EXACT] += [
                key | row for row in agreement(own, losses, exchanged)
            ]


def sample_of_layers(units: Sequence[Unit], left_out: set[int], count: int, seed: int) -> set[int]:
    """Numbers of randomly drawn units, as many of every layer as of any other.

    At least `count`: the share of a layer is rounded up, so that deep models have a sample too.
    """
    by_layer: dict[int, list[int]] = {}
    for number, unit in enumerate(units):
        if number not in left_out:
            by_layer.setdefault(unit.site.layer, []).append(number)
    each = math.ceil(count / max(1, len(by_layer)))
    drawn: set[int] = set()
    for layer, numbers in by_layer.items():
        generator = keyed_generator(seed, Purpose.EXACT_SAMPLE, layer)
        drawn |= {numbers[int(place)] for place in generator.permutation(len(numbers))[:each]}
    return drawn


def _named(unit: Unit) -> dict[str, int]:
    return {"layer": unit.site.layer, "unit": unit.first // unit.width}
