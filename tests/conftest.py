"""Checks the types and tensor shapes of the science's signatures while tests run."""

import os

from hypothesis import settings
from jaxtyping import install_import_hook

# Read when torch is first imported. Several test processes share the cores, and the threads of one
# would spend their time waiting for those of the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

STUDIES = ("geometry", "toxicity", "neurons", "patching", "facts")
install_import_hook(
    [f"llm_anatomy.{name}" for name in ("model", "data", *STUDIES)], "beartype.beartype"
)

# The same examples on every machine: what a check says must not depend on its luck.
# `HYPOTHESIS_PROFILE=search` looks for new ones.
settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("search", settings.get_profile("default"))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
