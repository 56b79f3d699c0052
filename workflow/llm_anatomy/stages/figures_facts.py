"""Draw the facts study's figures and write what the report shows of it."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.figures.exhibit import Exhibit, set_style, write_exhibits
from llm_anatomy.figures.fact_case import attention_exhibit, case_exhibits
from llm_anatomy.figures.facts import (
    curve_exhibit,
    head_exhibit,
    knock_out_exhibits,
    layer_exhibits,
    method_exhibit,
    query_exhibits,
    shared_exhibit,
)
from llm_anatomy.runner import run_stage


class FigureStage(Settings):
    """The figures have no settings."""


def run(
    settings: FigureStage,
    *,
    facts: tuple[Path, ...],
    curves: tuple[Path, ...],
    layer_summary: tuple[Path, ...],
    knock_out_summary: tuple[Path, ...],
    method_layers: tuple[Path, ...],
    shared_neurons: tuple[Path, ...],
    query_neurons: tuple[Path, ...],
    case_study: tuple[Path, ...],
    case_contrasts: tuple[Path, ...],
    case_attention: tuple[Path, ...],
    figures: Path,
) -> None:
    """Read the summaries of every model; write figures, captions and the rows to show."""
    figures.mkdir(parents=True, exist_ok=True)
    set_style()
    exhibits: list[Exhibit] = []
    for at, layers in enumerate(layer_summary):
        model = layers.parent.name
        own = [path for path in facts if path.parts[-3] == model]
        exhibits += layer_exhibits(figures, model, layers, own)
        exhibits += head_exhibit(figures, model, layers)
        exhibits += curve_exhibit(
            figures, model, [path for path in curves if path.parts[-3] == model]
        )
        exhibits += method_exhibit(figures, model, method_layers[at])
        exhibits += knock_out_exhibits(figures, model, knock_out_summary[at])
        exhibits += query_exhibits(figures, model, layers, query_neurons[at])
        exhibits += shared_exhibit(model, shared_neurons[at])
        exhibits += attention_exhibit(figures, model, case_attention[at])
        exhibits += case_exhibits(figures, model, case_study[at], case_contrasts[at])
    write_exhibits(figures, "facts", exhibits)


if __name__ == "__main__":
    run_stage(run)
