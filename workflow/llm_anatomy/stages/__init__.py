"""The stages: `python -m llm_anatomy.stages.NAME` runs one, which reads files and writes files."""

import gc
import sys

# Python calls itself `-m` while it imports this package for `python -m`. torch and transformers
# make a million objects that live to the end: looking through them for garbage while they are
# imported takes a sixth of the start of every stage that runs a model. `run_stage` switches the
# collection on once everything is imported.
if sys.argv[0] == "-m":
    gc.disable()
