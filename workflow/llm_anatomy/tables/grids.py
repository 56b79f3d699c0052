"""Tables of grids: what states say and restore, by layer and position."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_FOLDER = "results/facts/{model}/{relation}"
_RULE = "trace_states"

_EXAMPLE = Column("example_id", pa.string(), "The fact.")
_CORRUPTION = Column(
    "corruption", pa.string(), "`noise` on the subject, or `swap` for the counterfactual prompt."
)
_RESTORED = Column(
    "restored",
    pa.string(),
    "`state` behind the layer, or what `attention` or the `ffn` adds in a window around it.",
)
_WINDOW = Column("window", pa.int32(), "Layers restored together.")
_LAYER = Column("layer", pa.int32(), "Layer, from 0.")
_POSITION = Column("position", pa.int32(), "Position, from 0.")
_TOKEN = Column("position_token", pa.string(), "Token at the position.")
_ROLE = Column(
    "role",
    pa.string(),
    "What the position is: `first subject`, `middle subject`, `last subject`, `first after`, "
    "`further` or `last`. Of a swap the subject is what differs between the two prompts.",
)

LENS_GRID = TableSchema(
    name="grids/lens",
    path=f"{_FOLDER}/lens_grid.parquet",
    rule=_RULE,
    description="What one state would say next: the logit lens at one layer and position.",
    columns=(
        _EXAMPLE,
        Column("layer", pa.int32(), "State behind this layer, from 0; -1 for the embedding."),
        _POSITION,
        _TOKEN,
        Column("top_token", pa.string(), "The most likely next token."),
        Column("top_probability", pa.float64(), "Its probability."),
        Column("rank", pa.int64(), "Rank of the answer's first token among all, from 1."),
        Column("probability", pa.float64(), "Its probability."),
    ),
)

TRACED_FACTS = TableSchema(
    name="grids/facts",
    path=f"{_FOLDER}/traced_facts.parquet",
    rule=_RULE,
    description="One fact's clean and corrupted run; the first less the second is the total "
    "effect.",
    columns=(
        _EXAMPLE,
        _CORRUPTION,
        Column("first", pa.int32(), "First corrupted position."),
        Column("end", pa.int32(), "One past the last corrupted position."),
        Column("samples", pa.int32(), "Corrupted runs that numbers are means of."),
        Column("clean", pa.float64(), "Probability of the answer's first token."),
        Column("corrupted", pa.float64(), "The same in the corrupted run."),
        Column(
            "clean_contrast",
            pa.float64(),
            "Its logit over that of the counterfactual's answer; missing without one.",
            nullable=True,
        ),
        Column("corrupted_contrast", pa.float64(), "The same in the corrupted run.", nullable=True),
    ),
)

TRACING_GRID = TableSchema(
    name="grids/tracing",
    path=f"{_FOLDER}/tracing_grid.parquet",
    rule=_RULE,
    description="What one fact's answer regains by one restored layer and position. Positions "
    "before the corrupted ones are as in the clean run, and regain nothing.",
    columns=(
        _EXAMPLE,
        _CORRUPTION,
        _RESTORED,
        _WINDOW,
        _LAYER,
        _POSITION,
        _TOKEN,
        _ROLE,
        Column("effect", pa.float64(), "Indirect effect on the answer's probability."),
        Column(
            "contrast_effect",
            pa.float64(),
            "The same on its logit over the counterfactual's answer; missing without one.",
            nullable=True,
        ),
    ),
)

TRACING_EFFECTS = TableSchema(
    name="grids/effects",
    path=f"{_FOLDER}/tracing_effects.parquet",
    rule=_RULE,
    description="Average indirect effect of one layer at the positions of one role.",
    columns=(
        _CORRUPTION,
        _RESTORED,
        _WINDOW,
        _LAYER,
        _ROLE,
        Column("effect", pa.float64(), "Mean over facts of the effect on the probability."),
        Column("low", pa.float64(), "Lower end of its bootstrap interval over facts."),
        Column("high", pa.float64(), "Upper end of the same interval."),
        Column(
            "contrast_effect",
            pa.float64(),
            "Mean over `contrast_facts` of the effect on the logit over the counterfactual's "
            "answer; missing where no fact has one.",
            nullable=True,
        ),
        Column("contrast_facts", pa.int32(), "Those of the facts that have a counterfactual."),
        Column("facts", pa.int32(), "Facts with positions of the role."),
    ),
)

TABLES: tuple[TableSchema, ...] = (LENS_GRID, TRACED_FACTS, TRACING_GRID, TRACING_EFFECTS)
