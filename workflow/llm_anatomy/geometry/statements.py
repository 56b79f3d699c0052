"""What the paper says about regions and intrinsic dimension (arXiv 2312.01648), and the least
evidence for a verdict.
"""

from llm_anatomy.statistics.evidence import (
    CORRELATED,
    DOCUMENTS,
    IDENTITY,
    JUDGED,
    PAIRS,
    PROMPTS,
)
from llm_anatomy.tables.claims import Statement

PAPER = "Balestriero 2024"

BOUND = Statement(
    PAPER,
    "The dimension of the attention output is at most the number of attended tokens, summed over "
    "heads (Theorem 3.2).",
    "rank <= sum of counts (theorem)",
    "dimensions",
    IDENTITY,
)
HULL = Statement(
    PAPER,
    "The attention output is a sum of convex combinations of value vectors, one per head "
    "(Lemma 3.1, Theorem 3.2).",
    "exact (theorem)",
    "relative error",
    IDENTITY,
)
RELU_REGION = Statement(
    PAPER,
    "A ReLU MLP is one fixed map on the whole region of its input.",
    "exact (spline theory)",
    "relative error",
    IDENTITY,
)
SOFT_REGION = Statement(
    PAPER,
    "Smooth activations (SiLU, GELU) are soft versions of the same regions.",
    "no number given",
    "relative error",
    IDENTITY,
)
RELATED_RAISES = Statement(
    PAPER,
    "Related sentences raise the last layer's intrinsic dimension more than unrelated ones.",
    "related 123-152, unrelated 75-95 (Fig. 4)",
    "dimensions",
    PAIRS,
)
UNRELATED_CONSTANT = Statement(
    PAPER,
    "Unrelated sentences leave the last layer's intrinsic dimension as it is.",
    "within 15 % of the bare prompt (Fig. 4)",
    "relative change",
    PROMPTS,
)
FIRST_FOLLOWS_LENGTH = Statement(
    PAPER,
    "Intrinsic dimension of the first layer follows the context length.",
    "Pearson r = 0.978 (Llama-2-7B-chat, computed from its released CSVs)",
    "",
    CORRELATED,
)
LAST_SAYS_MORE = Statement(
    PAPER,
    "Intrinsic dimension of the last layer says more than the context length.",
    "Pearson r = 0.26 (Llama-2-7B-chat, computed from its released CSVs)",
    "",
    CORRELATED,
)
HARMFUL_ANSWERS = Statement(
    PAPER,
    "A higher intrinsic dimension of the last layer goes with harmful answers.",
    "ROC-AUC 0.83 pooled over 50 prompts, judged by hand (from its released CSVs)",
    "ROC-AUC",
    JUDGED,
)
PASSAGE_SHOWS = Statement(
    PAPER,
    "The features of growing prefixes show where a toxic passage begins.",
    "shown as heat maps, no number given",
    "share of documents",
    DOCUMENTS,
)

OF_PROMPTS = (
    RELATED_RAISES,
    UNRELATED_CONSTANT,
    FIRST_FOLLOWS_LENGTH,
    LAST_SAYS_MORE,
    HARMFUL_ANSWERS,
)
STATEMENTS = (BOUND, HULL, RELU_REGION, SOFT_REGION, *OF_PROMPTS, PASSAGE_SHOWS)
