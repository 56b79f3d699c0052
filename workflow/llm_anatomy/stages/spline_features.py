"""From token traces to the seven spline features of every layer."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.geometry import SplineFeatures
from llm_anatomy.geometry.activations import read_traces
from llm_anatomy.geometry.spline import feature_frame
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, write_table
from llm_anatomy.tables.geometry import SPLINE_FEATURES


class SplineStage(Settings):
    """What this stage reads of the configuration."""

    spline_features: SplineFeatures


def run(settings: SplineStage, *, traces: tuple[Path, ...], features: Path) -> None:
    """Read the token traces of all shards; write one row of 7 features per layer for every text."""
    include_bos = settings.spline_features.include_bos
    read = read_traces(traces)
    rows = feature_frame(read, include_bos=include_bos)
    provenance = read_provenance(traces[0]) | settings.model_dump()
    provenance["texts_with_control_tokens"] = sum(
        int((shard.control_tokens > 0).sum()) for shard in read
    )
    write_table(features, SPLINE_FEATURES, rows, provenance)


if __name__ == "__main__":
    run_stage(run)
