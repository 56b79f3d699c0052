"""What the paper says about neurons (arXiv 2501.02688), and the least evidence for a verdict."""

from llm_anatomy.statistics.evidence import (
    ANSWERS,
    CLAMPED_NEURONS,
    CLAMPS,
    COMPARED_NEURONS,
    SEARCHED,
    TIMED_MAPS,
)
from llm_anatomy.tables.claims import Statement

PAPER = "Davies 2025"

FAST_MAP = Statement(
    PAPER,
    "The top features of all up-projection neurons of a model can be mapped in seconds.",
    "under 10 s, Llama 3.1 8B (v2); under 15 min without parallelisation (v1)",
    "",
    TIMED_MAPS,
)
CONCEPT_NEURON = Statement(
    PAPER,
    "There is a neuron whose weights decode to {concept}.",
    "a dog and a California neuron, Llama 3.1 8B",
    "rank of the concept's token",
    SEARCHED,
)
CLAMP_RAISES = Statement(
    PAPER,
    "Clamping the {concept} neuron raises the probability of {concept} in the output.",
    "qualitative, Llama 3.1 8B",
    "times the clean probability",
    CLAMPS,
)
ALWAYS_NAMED = Statement(
    PAPER,
    "Asked for its favourite, the model with the {concept} neuron clamped always talks about "
    "{concept}.",
    "always, Llama 3.1 8B Instruct",
    "share of answers",
    ANSWERS,
)
DECODED_SAID = Statement(
    PAPER,
    "The decoded tokens of {matrix} weights say what the neuron makes the model say.",
    "shown on two up-projection neurons, Llama 3.1 8B",
    "share of clamps that raise the decoded token",
    CLAMPED_NEURONS,
)
SAME_TOKEN = Statement(
    PAPER,
    "Over 75 % of up-projection neurons have the same top token in the fine-tuned and the base "
    "model.",
    "75.4 %, Llama 3.1 8B and its Instruct version",
    "share of neurons",
    COMPARED_NEURONS,
)

STATEMENTS = (FAST_MAP, CONCEPT_NEURON, CLAMP_RAISES, ALWAYS_NAMED, DECODED_SAID, SAME_TOKEN)
