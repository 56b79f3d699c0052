"""Write the manifest of a results folder."""

import json
from pathlib import Path

from llm_anatomy.artefacts.manifest import make_manifest
from llm_anatomy.artefacts.records import read_records
from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import atomic_path, read_provenance


class ManifestStage(Settings):
    """The stage reads nothing of the configuration."""


def run(settings: ManifestStage, *, manifest: Path) -> None:
    """Describe every file beside the manifest: hash, rule, inputs, parameters, code."""
    described = make_manifest(manifest.parent, read_records(), read_provenance)
    with atomic_path(manifest) as temporary:
        temporary.write_text(json.dumps(described, indent=1, sort_keys=True), encoding="utf-8")


if __name__ == "__main__":
    run_stage(run)
