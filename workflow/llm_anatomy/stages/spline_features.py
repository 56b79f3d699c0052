"""From token traces to the seven spline features of every layer."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.geometry import SplineFeatures
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.activations import Traces, read_traces
from llm_anatomy.geometry.spline import feature_columns, spline_features, without_bos
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, write_table
from llm_anatomy.tables.geometry import SPLINE_FEATURES


class SplineStage(Settings):
    """What this stage reads of the configuration."""

    spline_features: SplineFeatures


def run(settings: SplineStage, *, traces: tuple[Path, ...], features: Path) -> None:
    """Read the token traces of all shards; write one row of 7 features per layer for every text."""
    read = read_traces(traces)
    active, distance, lengths = read.active, read.distance, read.lengths
    if not settings.spline_features.include_bos:
        _check_more_than_bos(read, traces[0])
        active, lengths = without_bos(read.active, read.lengths, read.has_bos)
        distance, _ = without_bos(read.distance, read.lengths, read.has_bos)
    values = spline_features(active, distance, lengths)
    columns = {
        "text_id": read.text_ids,
        "n_tokens": read.lengths,
        "truncated": read.truncated,
    }
    flat = values.reshape(len(values), -1)
    columns |= {name: flat[:, i] for i, name in enumerate(feature_columns(values.shape[1]))}
    provenance = read_provenance(traces[0]) | settings.model_dump()
    write_table(features, SPLINE_FEATURES, columns, provenance)


def _check_more_than_bos(traces: Traces, source: Path) -> None:
    alone = (traces.lengths == 1) & traces.has_bos
    if alone.any():
        text = traces.text_ids[int(alone.argmax())]
        raise UserError(
            f"{source}: the text '{text}' has no token beside the beginning-of-sequence token; set "
            "'geometry.spline_features.include_bos' to true, or remove the text"
        )


if __name__ == "__main__":
    run_stage(run)
