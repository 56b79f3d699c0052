"""The table of docs/support.md, made by running every check on every family."""

from pathlib import Path

from llm_anatomy.errors import UserError

from tests.support.checks import CHECKS, decoder_of
from tests.tiny import FAMILIES, PARTLY

PAGE = Path(__file__).parents[2] / "docs" / "support.md"
EXACT = "exact"
# Followed by the study's reason.
REFUSED = "refused: "
HEAD = """# Which models

Made by `make docs`, which runs every study on a tiny random model of every family in float64 and
compares it with what transformers' own code of the family computes, or with the study's formula
written out on it (`tests/support/checks.py`). *exact*: equal within 1e-5, because transformers
computes the norms of some families in float32, and the same best units or tokens. *refused*: the
study stops with one sentence, because its formulas do not cover the family; the reasons are below
the table, and the other studies run.

A family that is not listed works if its module tree is a usual one. Every model is proven at load.
One whose parts do not add up to its own logits, or whose modules compute something else than their
weights say, is refused with its module tree; where only attention or only the MLP computes
something else than the formulas, the studies that need it refuse the model. Refused as a whole,
with the reason: LFM2 (some layers are convolutions), post-norm variants of OPT and Bloom, and
encoder-decoders.

"""


def outcome(study: str, family: str, folder: Path) -> str:
    """What running a study's check on a family gives: `EXACT`, or `REFUSED` with the reason.

    Raises:
        AssertionError: A number of the study is not the family's own.
    """
    try:
        CHECKS[study](family, folder)
    except UserError as error:
        return REFUSED + str(error).split(", which")[0].split(", so ")[0]
    return EXACT


def support_page(outcomes: dict[tuple[str, str], str]) -> str:
    """The page, from the outcome of every family and study."""
    columns = ["family", "norm", "MLP", "attention", "block", *CHECKS]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for family in sorted(FAMILIES) + sorted(PARTLY):
        seen = [outcomes[family, study].split(":")[0] for study in CHECKS]
        cells = [family, *_form(family), *seen]
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join([*lines, "", *_reasons(outcomes)]) + "\n"


def _reasons(outcomes: dict[tuple[str, str], str]) -> list[str]:
    """Every reason of a refusal once, with the families and studies that it is of."""
    studies: dict[tuple[str, str], list[str]] = {}
    for family in sorted(PARTLY):
        for study in CHECKS:
            if outcomes[family, study].startswith(REFUSED):
                reason = outcomes[family, study].removeprefix(REFUSED)
                studies.setdefault((family, reason), []).append(study)
    return [f"* {family}, {', '.join(own)}: {why}." for (family, why), own in studies.items()]


def _form(family: str) -> list[str]:
    """In words, what the architecture layer found in a family's module tree."""
    block = decoder_of(family).blocks[1]
    own = block.projections
    if block.mlp is None:
        mlp = "mixture of experts"
    else:
        mlp = "gated" if block.mlp.gate is not None else "plain"
        mlp += ", biases" if block.mlp.up.bias() is not None else ""
    if own is None:
        groups = "of its own kind"
    else:
        groups = "one head each" if own.n_kv_heads == own.n_heads else "grouped queries"
        groups = "multi-query" if own.n_kv_heads == 1 else groups
    norms = block.attention_norm or block.attention_post_norm
    assert norms is not None
    norm = "LayerNorm" if norms.centred else "RMSNorm"
    post = ", post-norms" if block.attention_post_norm is not None else ""
    return [norm + post, mlp, groups, "parallel" if block.parallel else "sequential"]
