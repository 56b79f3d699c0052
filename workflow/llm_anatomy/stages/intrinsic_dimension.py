"""From attention counts to intrinsic dimensions."""

from pathlib import Path

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.geometry import IntrinsicDimension
from llm_anatomy.geometry.activations import read_attention_counts
from llm_anatomy.geometry.intrinsic_dimension import summed_dimension
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, write_table
from llm_anatomy.tables.geometry import HEAD_DIMENSION, INTRINSIC_DIMENSION


class DimensionStage(Settings):
    """What this stage reads of the configuration."""

    intrinsic_dimension: IntrinsicDimension


def run(
    settings: DimensionStage,
    *,
    attention_counts: tuple[Path, ...],
    intrinsic_dimension: Path,
    head_dimension: Path,
) -> None:
    """Read the attention counts of all shards; write them per head, and summed over heads."""
    rows, counts = read_attention_counts(attention_counts)
    provenance = read_provenance(attention_counts[0])
    clip = settings.intrinsic_dimension.clip
    head_dim, d_model = int(provenance["head_dim"]), int(provenance["d_model"])
    summed, by_head = [], []
    for threshold, values in counts.items():
        n_rows, n_layers, n_heads = values.shape
        layers = np.tile(np.arange(n_layers), n_rows)
        summed.append(
            pd.DataFrame(
                {
                    "text_id": np.repeat(rows["text_id"].to_numpy(), n_layers),
                    "position": np.repeat(rows["position"].to_numpy(), n_layers),
                    "n_tokens": np.repeat(rows["position"].to_numpy() + 1, n_layers),
                    "layer": layers,
                    "threshold": threshold,
                    "count": values.sum(-1, dtype=np.int64).ravel(),
                    "dimension": summed_dimension(values, clip, head_dim, d_model).ravel(),
                }
            )
        )
        by_head.append(
            pd.DataFrame(
                {
                    "text_id": np.repeat(rows["text_id"].to_numpy(), n_layers * n_heads),
                    "position": np.repeat(rows["position"].to_numpy(), n_layers * n_heads),
                    "layer": np.repeat(layers, n_heads),
                    "head": np.tile(np.arange(n_heads), n_rows * n_layers),
                    "threshold": threshold,
                    "count": values.ravel(),
                }
            )
        )
    provenance |= settings.model_dump()
    write_table(intrinsic_dimension, INTRINSIC_DIMENSION, pd.concat(summed), provenance)
    write_table(head_dimension, HEAD_DIMENSION, pd.concat(by_head), provenance)


if __name__ == "__main__":
    run_stage(run)
