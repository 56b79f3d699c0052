"""The stages: `python -m llm_anatomy.stages.NAME` runs one, which reads files and writes files."""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

# Where the network is: fetched on a login node, if compute nodes have none (docs/cluster.md).
DOWNLOADING = ("build_dataset", "download_wheel", "fetch_classifier", "prepare_model")


def reads_the_network(command: Sequence[str]) -> bool:
    """Whether a command line, the interpreter's included, starts a stage that downloads."""
    after = command[command.index("-m") + 1 :] if "-m" in command else command
    return bool(after) and after[0].removeprefix(f"{__name__}.") in DOWNLOADING


def _interrupted(*_: Any) -> None:
    """End at once: an exception would come up somewhere inside the import of torch."""
    os.write(2, b"Interrupted before any work; the same command goes on.\n")
    os._exit(130)


# Python calls itself `-m` while it imports this package for `python -m`. torch and transformers
# make a million objects that live to the end: looking through them for garbage while they are
# imported takes a sixth of the start of every stage that runs a model. `run_stage` switches the
# collection on once everything is imported, and takes Ctrl-C into its own hands.
if sys.argv[0] == "-m":
    gc.disable()
    signal.signal(signal.SIGINT, _interrupted)
    if not reads_the_network(sys.orig_argv):
        # Read by the hub's library when it is imported: a job that computes asks nobody.
        os.environ["HF_HUB_OFFLINE"] = "1"
