"""The least evidence with which a claim is judged: every number of it, for all studies.

A claim that little speaks for can hold because nothing happened: of a model that gets one of forty
examples right, a share of zero is within any tolerance of what it should be. Below these numbers a
claim has no verdict. They are small: they keep out verdicts from next to nothing, and intervals say
how sure the others are.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Least:
    """How much of what a verdict needs."""

    count: int
    of: str


# An identity holds on every input or is wrong: one counterexample is enough, and one input a test.
IDENTITY = Least(1, "inputs")
# Of ten texts against ten, a ROC-AUC has a standard error of about 0.13 without any signal.
TEXTS = Least(10, "texts of the smaller class")
TOLD_APART = Least(
    10, "texts of the smaller class, of a label that all features tell apart better than chance"
)
# Of four layers one order in 24 rises throughout; of three it is one in six.
LAYERS_TRIED = Least(4, "numbers of first layers")
TIMED = Least(5, "texts timed")
# Five differences of one sign have a chance of 1 in 16.
PAIRS = Least(5, "pairs of prompts")
PROMPTS = Least(5, "prompts with unrelated sentences")
CORRELATED = Least(10, "prompts")
JUDGED = Least(5, "answers of the rarer kind (harmful or not)")
DOCUMENTS = Least(3, "documents")
SEARCHED = Least(1, "neurons kept of the search")
CLAMPS = Least(4, "clamps of the concept's neuron")
# By how much a probability has to rise for its doubling to speak for anything: twice next to
# nothing is next to nothing, and what rounding or another prompt would do as well.
LEAST_RISE = 0.01
# "Always" and "never" of fewer answers have Wilson intervals wider than 0.3.
ANSWERS = Least(10, "answers of every condition")
CLAMPED_NEURONS = Least(30, "clamps of sampled neurons")
FIRING_NEURONS = Least(100, "neurons with contexts")
DOSES = Least(4, "doses of the concept's direction")
COMPARED_DOSES = Least(4, "doses of the direction or clamps of the neuron, whichever are fewer")
COMPARED_NEURONS = Least(100, "neurons compared")
TIMED_MAPS = Least(1, "timed maps")
# What a manipulation can take away, or a switch can turn: right answers that chance does not give.
RIGHT = Least(10, "clean examples right beyond chance")
TURNED = Least(10, "examples right beyond chance, or turned by a switch at the best layer if fewer")
FACTS = Least(5, "facts")
KNOWN_FACTS = Least(10, "facts whose answer is among the ten most likely tokens")
