"""The stages: `python -m llm_anatomy.stages.NAME` runs one, which reads files and writes files."""

import gc
import sys

# Python calls itself `-m` while it imports this package for `python -m`. torch and transformers
# make a million objects that live to the end; looking through them for garbage, again and again
# while they are imported and once more at exit, takes a third of a short stage's time. `run_stage`
# switches the collection on once everything is imported.
if sys.argv[0] == "-m":
    gc.disable()
