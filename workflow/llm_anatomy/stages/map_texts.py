"""Maps of a dataset's texts by their spline features."""

from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Maps
from llm_anatomy.progress import track
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, write_table
from llm_anatomy.tables.toxicity import MAPS
from llm_anatomy.toxicity.inputs import read_spline_features
from llm_anatomy.toxicity.maps import place_texts


class MapStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    maps: Maps


def run(settings: MapStage, *, spline_features: Path, maps: Path) -> None:
    """Read spline features; write the place of every text on every map."""
    spline = read_spline_features(spline_features)
    values = spline.features.reshape(len(spline.text_ids), -1)
    asked = settings.maps
    parts = []
    for method in track(asked.methods, len(asked.methods), "maps", "map_texts"):
        placed = place_texts(
            values, method, asked.standardise, asked.max_texts, asked.perplexity, settings.seed
        )
        explained = placed.explained or (None, None)
        parts.append(
            pd.DataFrame(
                {
                    "text_id": [spline.text_ids[row] for row in placed.rows],
                    "method": method,
                    "x": placed.places[:, 0],
                    "y": placed.places[:, 1],
                    "explained_x": pd.array([explained[0]] * len(placed.rows), "Float64"),
                    "explained_y": pd.array([explained[1]] * len(placed.rows), "Float64"),
                }
            )
        )
    columns = [column.name for column in MAPS.columns]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    provenance = read_provenance(spline_features) | {"toxicity": settings.model_dump()}
    write_table(maps, MAPS, table, provenance)


if __name__ == "__main__":
    run_stage(run)
