"""What the paper says about previous tokens (arXiv 2409.03621), and the least evidence for a
verdict.
"""

from llm_anatomy.statistics.evidence import RIGHT, TURNED
from llm_anatomy.tables.claims import Statement

PAPER = "Ben-Artzy 2024"

TOP_LAYERS = Statement(
    PAPER,
    "Manipulating previous tokens ({name}) in the final 30 % of layers costs little or nothing.",
    "small to negligible drop (abstract)",
    "relative drop",
    RIGHT,
)
ARITHMETIC = Statement(
    PAPER,
    "Leaving out attention in the top layers harms arithmetic.",
    "the one task that fails (secondary source)",
    "relative drop",
    RIGHT,
)
FROM_HALF_ON = Statement(
    PAPER,
    "Manipulating previous tokens ({name}) costs little or nothing from half to 70 % of the depth "
    "on.",
    "the final 30 to 50 % of the layers (abstract)",
    "share of layers",
    RIGHT,
)
EARLY_LAYERS = Statement(
    PAPER,
    "Manipulating previous tokens ({name}) in early layers brings the score down to chance.",
    "chance level (abstract: can lead to)",
    "score",
    RIGHT,
)
IGNORED = Statement(
    PAPER,
    "A switch in the top third of layers is ignored.",
    "0 of 194 from k = 22 of 32 on (Llama2-7B, Mistral-7B, Yi-6B)",
    "share",
    TURNED,
)
FOLLOWED = Statement(
    PAPER,
    "A switch before the top third is followed.",
    "167, 176 and 181 of 194 at k = 10 of 32 (Llama2-7B, Mistral-7B, Yi-6B)",
    "share",
    RIGHT,
)
FLIPS = Statement(
    PAPER,
    "The answer flips from the donor's to the original between half and 70 % of the layers.",
    "k = 18, 17, 22 of 32 (Llama2-7B, Mistral-7B, Yi-6B)",
    "share of layers",
    TURNED,
)

OF_STATES = (TOP_LAYERS, FROM_HALF_ON, EARLY_LAYERS)
OF_SWITCHES = (IGNORED, FOLLOWED, FLIPS)
STATEMENTS = (*OF_STATES, ARITHMETIC, *OF_SWITCHES)
