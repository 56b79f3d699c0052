"""Checks the types and tensor shapes of the science's signatures while tests run."""

from jaxtyping import install_import_hook

STUDIES = ("geometry", "toxicity", "neurons", "patching", "facts")
install_import_hook(
    [f"llm_anatomy.{name}" for name in ("model", "data", *STUDIES)], "beartype.beartype"
)
