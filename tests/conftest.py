"""Checks the tensor shapes of every public signature while tests run."""

from jaxtyping import install_import_hook

install_import_hook("llm_anatomy", "beartype.beartype")
