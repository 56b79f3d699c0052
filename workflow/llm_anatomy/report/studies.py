"""What each study asks and the paper it follows, in reading order."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper that a study follows.

    Attributes:
        citation: Full reference.
        url: Where to read it.
        code: What the authors published as code and under which licence.
    """

    citation: str
    url: str
    code: str


@dataclass(frozen=True)
class Study:
    """A study of the report.

    Attributes:
        name: Its name in the configuration and in result paths.
        title: Heading of its section.
        question: What it asks, in plain words.
        method: How it finds out, in one or two sentences.
        paper: The paper it follows.
        view: The atlas's view of it.
    """

    name: str
    title: str
    question: str
    method: str
    paper: Paper
    view: str


BALESTRIERO = Paper(
    citation=(
        "Randall Balestriero, Romain Cosentino, Sarath Shekkizhar: Characterizing Large Language "
        "Model Geometry Helps Solve Toxicity Detection and Generation. ICML 2024, PMLR 235, "
        "pp. 2543–2565 (arXiv 2312.01648)."
    ),
    url="https://arxiv.org/abs/2312.01648",
    code="The authors' code is CC BY-NC 4.0; it was not used here.",
)
DAVIES = Paper(
    citation=(
        "Harry J. Davies: Decoding specialised feature neurons in LLMs with the final projection "
        "layer. 2025 (arXiv 2501.02688; version 2 is titled Flash Interpretability: Decoding "
        "Specialised Feature Neurons in Large Language Models with the LM-Head)."
    ),
    url="https://arxiv.org/abs/2501.02688",
    code="No code of the author is public.",
)
BEN_ARTZY = Paper(
    citation=(
        "Amit Ben-Artzy, Roy Schwartz: Attend First, Consolidate Later: On the Importance of "
        "Attention in Different LLM Layers. BlackboxNLP 2024, pp. 177–184 (arXiv 2409.03621)."
    ),
    url="https://arxiv.org/abs/2409.03621",
    code="The authors' code carries no licence; it was not used here.",
)
YU = Paper(
    citation=(
        "Zeping Yu, Sophia Ananiadou: Neuron-Level Knowledge Attribution in Large Language "
        "Models. EMNLP 2024, pp. 3267–3280 (arXiv 2312.12141)."
    ),
    url="https://arxiv.org/abs/2312.12141",
    code="The authors' code carries no licence; it was not used here.",
)

STUDIES: tuple[Study, ...] = (
    Study(
        name="geometry",
        title="Geometry: what a layer does to a prompt",
        question=(
            "How many directions can attention mix at the last token, and where does a prompt lie "
            "among the regions into which a layer's gate units cut their input space?"
        ),
        method=(
            "One forward pass per text yields the intrinsic dimension of attention per layer and "
            "seven spline features per layer: statistics of the signs of the gate's "
            "pre-activations and of their distance to the nearest boundary."
        ),
        paper=BALESTRIERO,
        view="texts",
    ),
    Study(
        name="toxicity",
        title="Toxicity: do seven numbers per layer give a text away?",
        question=(
            "Do the spline features tell harmful texts from harmless ones, and do they know more "
            "than the text's length, its words, or the model's mean hidden state?"
        ),
        method=(
            "Linear and random-forest classifiers on the spline features stand beside three "
            "baselines on the same folds, by area under the ROC curve with bootstrap intervals."
        ),
        paper=BALESTRIERO,
        view="texts",
    ),
    Study(
        name="neurons",
        title="Neurons: which words a neuron stands for",
        question=(
            "Which tokens does each MLP neuron point at when the model's own output head reads "
            "its weights, and does turning a neuron up make the model say its word?"
        ),
        method=(
            "The weight vectors of MLP neurons, of the matrices that the configuration names, are "
            "decoded through the LM head without running the model; neurons of a concept are then "
            "clamped while the next-token probability is recorded."
        ),
        paper=DAVIES,
        view="neurons",
    ),
    Study(
        name="patching",
        title="Patching: until which layer a model looks at its prompt",
        question=(
            "From which layer on can the hidden states of the previous tokens be disturbed, "
            "frozen or replaced by another prompt's without changing the answer?"
        ),
        method=(
            "For every layer the previous tokens are replaced by noise, shuffled, frozen, skipped "
            "or switched to another prompt's, and the model answers under that manipulation."
        ),
        paper=BEN_ARTZY,
        view="patching",
    ),
    Study(
        name="facts",
        title="Facts: which layers and neurons add the answer",
        question=(
            "Which attention and feed-forward layers raise the log probability of the right "
            "answer, which single neurons carry it, and which earlier neurons switch them on?"
        ),
        method=(
            "The last token's residual stream is split into what every layer, head and neuron "
            "added to it; each part is scored by the log-probability increase of the answer."
        ),
        paper=YU,
        view="facts",
    ),
)
PAPERS: tuple[Paper, ...] = (BALESTRIERO, DAVIES, BEN_ARTZY, YU)
