"""Tables of unit attribution: scores, exact losses, their agreement, faithfulness."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_FOLDER = "results/facts/{model}/{relation}"
_RULE = "attribute_units"

_KIND = Column("kind", pa.string(), "`ffn_neuron`, `attention_neuron` or `head`.")
_METHOD = Column(
    "method",
    pa.string(),
    "Score by which units are ranked, a name of `facts.units.methods`, or `random`.",
)
_LAYER = Column("layer", pa.int32(), "Layer, from 0.")
_UNIT = Column(
    "unit",
    pa.int32(),
    "FFN neuron k, attention neuron j·d_h + k, or head j of the layer, from 0.",
)
_FACTS = Column("facts", pa.int32(), "Facts that the number is a mean or a ratio of.")


def _interval(name: str, what: str) -> tuple[Column, Column]:
    return (
        Column(f"{name}low", pa.float64(), f"Lower end of the bootstrap interval of {what}."),
        Column(f"{name}high", pa.float64(), "Upper end of the same interval."),
    )


UNIT_SCORES = TableSchema(
    name="attribution/unit_scores",
    path=f"{_FOLDER}/unit_scores.parquet",
    rule=_RULE,
    description="One of the units that help a relation's answers most, by one score.",
    columns=(
        _KIND,
        _METHOD,
        Column("rank", pa.int32(), "1 helps most."),
        _LAYER,
        _UNIT,
        Column(
            "score",
            pa.float64(),
            "Mean over facts of what the answer is estimated to lose without the unit; for the "
            "other methods of the score by which they rank.",
        ),
        Column("mean_abs", pa.float64(), "Mean over facts of the score's magnitude."),
        _FACTS,
    ),
)

EXACT_LOSSES = TableSchema(
    name="attribution/exact_losses",
    path=f"{_FOLDER}/exact_losses.parquet",
    rule=_RULE,
    description="One unit that was exchanged, all else recomputed.",
    columns=(
        _KIND,
        _LAYER,
        _UNIT,
        Column("chosen", pa.string(), "`top`: among the best by a score; `sample`: drawn."),
        Column("loss", pa.float64(), "Mean over facts of what the answer loses without the unit."),
        _FACTS,
    ),
)

AGREEMENT_WITH_EXACT = TableSchema(
    name="attribution/agreement",
    path=f"{_FOLDER}/attribution_agreement.parquet",
    rule=_RULE,
    description="One score held against exact losses, over the exchanged units of one layer; "
    "`denoising`, which estimates what a unit restores, is held against none.",
    columns=(
        _KIND,
        _METHOD,
        Column("layer", pa.int32(), "Layer, from 0; -1 for all layers together."),
        Column("units", pa.int32(), "Exchanged units."),
        Column("spearman", pa.float64(), "Rank correlation; missing below 3.", nullable=True),
        Column("slope", pa.float64(), "Exact losses on scores, through the origin.", nullable=True),
        Column(
            "same_sign",
            pa.float64(),
            "Share of the units with an effect whose score has its sign.",
            nullable=True,
        ),
        *(
            Column(
                f"recall_{n}",
                pa.float64(),
                f"Share of the exact best {n} found; missing below twice as many units.",
                nullable=True,
            )
            for n in (10, 100)
        ),
    ),
)

FAITHFULNESS = TableSchema(
    name="attribution/faithfulness",
    path=f"{_FOLDER}/faithfulness.parquet",
    rule=_RULE,
    description="One ranking, made on other facts: the behaviour that its best units carry.",
    columns=(
        _KIND,
        _METHOD,
        Column("side", pa.string(), "`keep` the best units alone, or `remove` them."),
        Column("share", pa.float64(), "Share k of the units that is kept or removed."),
        Column(
            "faithfulness",
            pa.float64(),
            "(m(C) - m(0)) / (m(N) - m(0)): 1 as the whole model, 0 with every unit exchanged; "
            "not clipped.",
        ),
        *_interval("", "faithfulness over the facts"),
        _FACTS,
    ),
)

AREAS = TableSchema(
    name="attribution/areas",
    path=f"{_FOLDER}/faithfulness_areas.parquet",
    rule=_RULE,
    description="One ranking's curve in two numbers.",
    columns=(
        _KIND,
        _METHOD,
        Column("cpr", pa.float64(), "Area under the curve of kept units; more is better."),
        *_interval("cpr_", "CPR"),
        Column("cmd", pa.float64(), "Area between that curve and 1; less is better."),
        *_interval("cmd_", "CMD"),
        Column(
            "enough",
            pa.float64(),
            "Smallest share of units with faithfulness of at least 0.8.",
            nullable=True,
        ),
        _FACTS,
    ),
)

DIFFERENCES = TableSchema(
    name="attribution/differences",
    path=f"{_FOLDER}/area_differences.parquet",
    rule=_RULE,
    description="Two rankings' areas against each other, on the same facts and resamples.",
    columns=(
        _KIND,
        _METHOD,
        Column("other", pa.string(), "The ranking that it is held against."),
        Column("difference", pa.float64(), "Its CPR less the other's."),
        *_interval("", "the difference"),
        _FACTS,
    ),
)

TABLES: tuple[TableSchema, ...] = (
    UNIT_SCORES,
    EXACT_LOSSES,
    AGREEMENT_WITH_EXACT,
    FAITHFULNESS,
    AREAS,
    DIFFERENCES,
)
