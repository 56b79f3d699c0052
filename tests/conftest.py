"""Checks the types and tensor shapes of the science's signatures while tests run."""

import os

from jaxtyping import install_import_hook

# Read when torch is first imported. Several test processes share the cores, and the threads of one
# would spend their time waiting for those of the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

STUDIES = ("geometry", "toxicity", "neurons", "patching", "facts")
install_import_hook(
    [f"llm_anatomy.{name}" for name in ("model", "data", *STUDIES)], "beartype.beartype"
)
