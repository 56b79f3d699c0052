"""Do neurons fire on the words they decode to? What is implied, beside what was measured."""

from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

import pandas as pd

from llm_anatomy.config.mlp import Matrix
from llm_anatomy.neurons.overlap import LEAST_SHARE
from llm_anatomy.neurons.statements import PAPER
from llm_anatomy.statistics.evidence import FIRING_NEURONS
from llm_anatomy.tables.claims import Statement
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.contexts import CONTEXT_OVERLAP

Row: TypeAlias = dict[str, Any]

FIRES_ON = Statement(
    PAPER,
    "The decoded tokens of {matrix} weights are those on which the neuron fires.",
    "not tested; neurons are named by their decoded tokens, Llama 3.1 8B",
    "share of contexts",
    FIRING_NEURONS,
)
STATEMENTS = (FIRES_ON,)
# Rows say what a neuron listens to, columns what it makes the model say next.
PLACE = {"up": "here", "gate": "here", "down": "next"}
TIMES_CHANCE = 2.0


def context_claims(tables: Collection, models: Sequence[str]) -> list[Row]:
    """Every claim on every model; those that this run cannot test say why."""
    rows = []
    for model in models:
        if not tables.has(CONTEXT_OVERLAP, model=model):
            why = "no texts were read; the key 'datasets' names none that studies run on"
            rows += [FIRES_ON.about(matrix=m).untested(model, why=why) for m in get_args(Matrix)]
            continue
        site = tables.provenance(CONTEXT_OVERLAP, model=model)["contexts"]["site"]
        if site != "activation":
            why = (
                f"contexts are of the tensor '{site}', not of what the neuron puts out; set "
                "neurons.contexts.site to 'activation'"
            )
            rows += [FIRES_ON.about(matrix=m).untested(model, why=why) for m in get_args(Matrix)]
            continue
        overlap = tables.frame(CONTEXT_OVERLAP, model=model)
        rows += [fires_claim(overlap, matrix, model) for matrix in get_args(Matrix)]
    return rows


def fires_claim(overlap: pd.DataFrame, matrix: str, model: str) -> Row:
    """Do most positive contexts hold a token of the positive end, and far fewer one of others?

    "Are" is a statement about most contexts: a share of one in a hundred is no such thing, however
    surely it lies above chance.
    """
    claim, place = FIRES_ON.about(matrix=matrix), PLACE[matrix]
    together = overlap[overlap["layer"].isna() & (overlap["matrix"] == matrix)]
    chosen = (together["end"] == 1) & (together["sign"] == 1) & (together["place"] == place)
    if not chosen.any():
        why = (
            f"no neuron's {matrix} weights were decoded; the key neurons.map.matrices leaves them "
            "out, or the model has none"
        )
        return claim.untested(model, why=why)
    row = together[chosen].iloc[0]
    token = "the token that it fires on" if place == "here" else "the token that follows"
    return claim.judged(
        model,
        evidence=int(row["neurons"]),
        measured_value=float(row["share"]),
        low=float(row["low"]),
        high=float(row["high"]),
        holds=bool(
            row["low"] >= LEAST_SHARE
            and row["difference_low"] > 0
            and row["share"] >= TIMES_CHANCE * row["shuffled"]
        ),
        note=f"Share of a neuron's strongest contexts in which {token} is a decoded one, mean over "
        f"{row['neurons']} neurons with its 95 % bootstrap interval; with the words of other "
        f"neurons {row['shuffled']:.3g}. Holds if the share's interval lies at or above "
        f"{LEAST_SHARE:g}, the difference's above 0, and the share is at least {TIMES_CHANCE:g} "
        "times that of other neurons' words.",
    )
