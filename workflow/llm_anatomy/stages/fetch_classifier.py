"""Fetch a text classifier from the Hugging Face hub, where the network is."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import HubClassifier
from llm_anatomy.runner import run_stage
from llm_anatomy.toxicity.hub import fetch_classifier


class FetchClassifierStage(Settings):
    """What this stage reads of the configuration."""

    classifier: HubClassifier


def run(settings: FetchClassifierStage, *, weights: Path) -> None:
    """Write a folder of links to the classifier's files in the hub cache."""
    fetch_classifier(settings.classifier, weights)


if __name__ == "__main__":
    run_stage(run)
