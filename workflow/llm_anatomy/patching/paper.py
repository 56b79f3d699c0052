"""What the paper's switch experiment showed, recovered from its public heat map."""

from importlib.resources import files

import pandas as pd

# Blocks of each of the paper's models.
PAPER_LAYERS = 32


def paper_switch() -> pd.DataFrame:
    """Share of 194 capitals for which each model kept or switched its answer, layer by layer.

    Returns:
        Columns `model`, `layer` (k), `depth` (k / 32), `original`, `modified`.
    """
    source = files("llm_anatomy.patching").joinpath("switch_capitals_paper.csv")
    with source.open(encoding="utf-8") as file:
        table = pd.read_csv(file, comment="#")
    return pd.DataFrame(
        {
            "model": table["model"],
            "layer": table["layer"],
            "depth": table["layer"] / PAPER_LAYERS,
            "original": table["orig_count_of_194"] / 194,
            "modified": table["mod_count_of_194"] / 194,
        }
    )
