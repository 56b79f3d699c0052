"""What the paper says about detection (arXiv 2312.01648), and the least evidence for a verdict."""

from llm_anatomy.statistics.evidence import LAYERS_TRIED, TEXTS, TIMED, TOLD_APART
from llm_anatomy.tables.claims import Statement

PAPER = "Balestriero 2024"

LINEAR_DETECTION = Statement(
    PAPER,
    "Logistic regression on the spline features of all layers detects toxicity almost perfectly.",
    "99.18 % (Llama-2-7B), 98.45 % (Mistral-7B)",
    "% ROC-AUC",
    TEXTS,
)
BEYOND_LENGTH = Statement(
    PAPER,
    "The score is not text length in disguise (the paper has no such baseline).",
    "not reported",
    "points of ROC-AUC",
    TEXTS,
)
BETTER_THAN_PUBLIC = Statement(
    PAPER,
    "Spline features detect toxicity better than public classifiers.",
    "99.18 % against 82.08 % for the best of six (Llama-2-7B)",
    "points of ROC-AUC",
    TEXTS,
)
EARLY_FOREST = Statement(
    PAPER,
    "A random forest on the first three layers loses less than five points.",
    "99.18 % to 94.68 % (Llama-2-7B), 98.45 % to 93.73 % (Mistral-7B)",
    "points of ROC-AUC",
    TOLD_APART,
)
SHARES_CARRY = Statement(
    PAPER,
    "Features 1 to 4 (active share) carry the signal; features 5 to 7 (distance) add little.",
    "single features 88-96 % against 65-67 % (Llama-2-7B, logistic regression)",
    "points of ROC-AUC",
    TOLD_APART,
)
DEEPER_IS_BETTER = Statement(
    PAPER,
    "Every further layer helps: the score grows from the first layer to all.",
    "80.3 % with one layer, 99.2 % with all, rising throughout (Llama-2-7B)",
    "Spearman correlation",
    LAYERS_TRIED,
)
FEW_LABELS = Statement(
    PAPER,
    "With 5 % of the labels and self-training the score falls by about one point.",
    "99.18 % to 98.25 % (Llama-2-7B), 98.45 % to 96.36 % (Mistral-7B)",
    "points of ROC-AUC",
    TOLD_APART,
)
DOMAINS = Statement(
    PAPER,
    "Spline features tell domains apart almost perfectly.",
    "99.14 to 100 % per domain (Mistral-7B), 99.63 to 100 % (Llama-2-7B)",
    "% ROC-AUC",
    TEXTS,
)
EASY_NEGATIVES = Statement(
    PAPER,
    "Without clean texts of the toxic texts' own source the score is far higher.",
    "99.2 % without clean Jigsaw, 89.8 % with it (Llama-2-7B)",
    "points of ROC-AUC",
    TEXTS,
)
FAST_EXIT = Statement(
    PAPER,
    "Reading three layers is about twelve times as fast as reading all.",
    "0.061 s and 0.005 s per text (Llama-2-7B, 32 layers)",
    "times",
    TIMED,
)
ADDITION = Statement(
    PAPER,
    "Spline features add to what the hidden state tells (the paper has no such baseline).",
    "not reported",
    "points of ROC-AUC",
    TEXTS,
)
JIGSAW = Statement(
    PAPER,
    "On Jigsaw's official test set boosted trees score above the Kaggle winner.",
    "99.88 % (Llama-2-7B), 98.85 % Kaggle winner",
    "",
    TEXTS,
)

# What a data set with one label tests, and what one with exclusive classes does.
OF_ONE_LABEL = (
    LINEAR_DETECTION,
    BEYOND_LENGTH,
    BETTER_THAN_PUBLIC,
    EARLY_FOREST,
    SHARES_CARRY,
    DEEPER_IS_BETTER,
    FEW_LABELS,
)
STATEMENTS = (*OF_ONE_LABEL, DOMAINS, EASY_NEGATIVES, ADDITION, FAST_EXIT, JIGSAW)
