"""Draw the neuron study."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.config.base import Settings
from llm_anatomy.figures import neurons as draw
from llm_anatomy.figures.exhibit import Exhibit, save_figure, set_style, write_exhibits
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import TableSchema, read_arrow, read_table
from llm_anatomy.tables.neurons import (
    ACTIVATION,
    AGREEMENT,
    CLAMPING,
    CONCEPTS,
    EDITS,
    FAVOURITE,
    SIGN_TESTS,
    STATISTICS,
    TRAINING,
    VOCABULARY,
)

CONCEPT_COLUMNS = (
    "concept",
    "rank",
    "layer",
    "neuron",
    "matrix",
    "sign",
    "specificity",
    "token",
    "token_rank",
)
EDIT_COLUMNS = ("concept", "rows", "prompt", "probability", "kl", "held_kl", "smallest_cosine")
ANSWER_COLUMNS = ("condition", "value", "question", "answer", "mentions")


class FiguresStage(Settings):
    """What this stage reads of the configuration."""

    models: list[str]
    pairs: list[str]
    tuned: str


def run(settings: FiguresStage, *, tables: tuple[Path, ...], figures: Path) -> None:
    """Read the study's tables; write its figures and exhibits."""
    set_style()
    with atomic_folder(figures) as folder:
        exhibits = Exhibits(folder, {(path.parent.name, path.stem): path for path in tables})
        for model in settings.models:
            exhibits.model(model)
        for pair in settings.pairs:
            exhibits.add(pair, "agreement", AGREEMENT, draw.agreement_figure)
        if settings.tuned:
            exhibits.add(settings.tuned, "training", TRAINING, draw.training_figure)
        write_exhibits(folder, "neurons", exhibits.made)


class Exhibits:
    """Collects what the report shows.

    Args:
        folder: Where the figures go.
        paths: Tables by (model or pair, table).
    """

    def __init__(self, folder: Path, paths: dict[tuple[str, str], Path]) -> None:
        self.folder, self.paths = folder, paths
        self.made: list[Exhibit] = []

    def model(self, model: str) -> None:
        """Every exhibit of one model."""
        self._map(model)
        concepts = self.add(model, "concepts", CONCEPTS, draw.concept_figure)
        self.made.append(
            Exhibit(
                title=f"The most specific neurons of {model}",
                caption="The three most specific neurons of every concept. Sign -1 means that the "
                "weight vector points away from the word.",
                table=self.paths[model, "concepts"],
                columns=CONCEPT_COLUMNS,
                rows=tuple(draw.specific_rows(concepts)),
            )
        )
        self.add(model, "clamping", CLAMPING, draw.clamp_figure)
        favourite = self.add(model, "favourite", FAVOURITE, draw.favourite_figure)
        self.made.append(
            Exhibit(
                title=f"What {model} answers",
                caption="The greedy answers to the first question under every condition.",
                table=self.paths[model, "favourite"],
                columns=ANSWER_COLUMNS,
                rows=tuple(
                    int(row)
                    for row in favourite.index[
                        (favourite["sample"] == 0)
                        & (favourite["question"] == favourite["question"].iloc[0])
                    ]
                ),
            )
        )
        self.add(model, "sign_tests", SIGN_TESTS, draw.validation_figure)
        if (model, "activation") in self.paths:
            self.add(model, "activation", ACTIVATION, draw.activation_figure)
        edits = read_table(self.paths[model, "edits"], EDITS)
        if len(edits):
            self.made.append(
                Exhibit(
                    title=f"Removing a concept from {model}",
                    caption=draw.edit_caption(edits, model),
                    table=self.paths[model, "edits"],
                    columns=EDIT_COLUMNS,
                    rows=tuple(range(len(edits))),
                )
            )

    def add(
        self,
        owner: str,
        table: str,
        schema: TableSchema,
        figure: Callable[[pd.DataFrame, str], draw.Drawn],
    ) -> pd.DataFrame:
        """Draw one table."""
        frame = read_table(self.paths[owner, table], schema)
        self._show(figure(frame, owner), owner, table)
        return frame

    def _map(self, model: str) -> None:
        words = read_arrow(self.paths[model, "vocabulary"], VOCABULARY)
        frame = words.select(
            ["layer", "matrix", "sign", "rank", "token_id", "probability"]
        ).to_pandas()
        tops = frame[(frame["rank"] == 1) & (frame["sign"] == 1)]
        statistics = read_table(self.paths[model, "statistics"], STATISTICS)
        self._show(draw.map_figure(tops, statistics, model), model, "vocabulary")

    def _show(self, drawn: draw.Drawn, owner: str, table: str) -> None:
        name = f"{owner}-{table}.png"
        save_figure(drawn.figure, self.folder / name)
        self.made.append(
            Exhibit(
                title=drawn.title,
                caption=drawn.caption,
                figure=name,
                table=self.paths[owner, table],
                rows=(),
            )
        )


if __name__ == "__main__":
    run_stage(run)
