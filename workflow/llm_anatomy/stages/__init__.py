"""The stages: `python -m llm_anatomy.stages.NAME` runs one, which reads files and writes files."""

import gc
import os
import signal
import sys
from typing import Any


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
