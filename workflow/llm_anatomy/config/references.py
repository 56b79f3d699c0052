"""Names in one section of the configuration that have to exist in another.

Every check raises a `ValueError` whose sentence names the key, the name and what is known; the
whole configuration calls them (`config.root`), so that a mistake ends a run before any job.
"""

import difflib
from collections.abc import Sequence

from llm_anatomy.config.datasets import FACT_KINDS, Dataset, Kind
from llm_anatomy.config.directions import DEFAULT_TARGETS, Directions
from llm_anatomy.config.facts import FactsSettings
from llm_anatomy.config.geometry import GeometrySettings, PromptDimension
from llm_anatomy.config.neurons import NeuronsSettings
from llm_anatomy.config.patching import PatchingSettings, RelationTask
from llm_anatomy.config.toxicity import ToxicitySettings


def check_distinct(names: Sequence[str], what: str) -> None:
    """Every entry of a list has a name of its own, on disks that do not tell cases apart too."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other == name and names.count(name) > 1:
            raise ValueError(f"two entries are named '{name}'; give every {what} its own name")
        if other != name:
            raise ValueError(
                f"two entries are named '{other}' and '{name}', which are one folder on disks that "
                f"do not tell upper from lower case; give every {what} its own name"
            )


def check_texts(key: str, name: str, known: Sequence[str]) -> None:
    """A key names a data set of texts that is configured."""
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known) or 'none'}"
        raise ValueError(
            f"the key '{key}' names the data set of texts '{name}', which is not configured; {hint}"
        )


def check_scorers(prompts: PromptDimension, texts: Sequence[str]) -> None:
    """The classifiers of answers are trained on configured data."""
    for scorer in prompts.scorers or []:
        check_texts("geometry.prompts.scorers", scorer.dataset, texts)


def check_named_data(
    studies: Sequence[str],
    geometry: GeometrySettings,
    patching: PatchingSettings,
    facts: FactsSettings,
    datasets: Sequence[Dataset],
) -> None:
    """Every data set that a picked study asks for is there, and of the kind that it reads."""
    named: list[tuple[str, Kind, str | None]] = []
    if "geometry" in studies:
        named.append(("geometry.inserts.dataset", "inserts", geometry.inserts.dataset))
        named.append(("geometry.prompts.dataset", "prompts", geometry.prompts.dataset))
    if "patching" in studies:
        for number, task in enumerate(patching.tasks):
            key = "relation" if isinstance(task, RelationTask) else "dataset"
            if task.data is not None:
                named.append((f"patching.tasks[{number}].{key}", *task.data))
    if "facts" in studies:
        for number, relation in enumerate(facts.relations):
            named.append((f"facts.relations[{number}].relation", "relation", relation.relation))
    for key, kind, name in named:
        kinds = FACT_KINDS if kind == "relation" else (kind,)
        known = [dataset.name for dataset in datasets if dataset.kind in kinds]
        if name is not None and name not in known:
            what = "relation" if kind == "relation" else f"data set of kind '{kind}'"
            raise ValueError(
                f"the key '{key}' is '{name}', which is no {what} of 'datasets' (there are "
                f"{', '.join(known) or 'none'}); add it there, such as {{name: {name}, kind: "
                f"{kind}, ...}}, or set '{key.partition('[')[0]}', or leave "
                f"'{key.partition('.')[0]}' out of 'studies'"
            )


def check_study_data(
    studies: Sequence[str], datasets: Sequence[str], labelled: Sequence[str]
) -> None:
    """The studies of texts have texts, and that of labels has labels."""
    if "geometry" in studies and not datasets:
        raise ValueError(
            "the study 'geometry' needs a dataset of texts, and the key 'datasets' names none; "
            "add one, or leave 'geometry' out of 'studies'"
        )
    if "toxicity" in studies and not labelled:
        raise ValueError(
            "the study 'toxicity' needs a dataset of texts with labels, and the key 'datasets' "
            "names none; give one 'labels', or leave 'toxicity' out of 'studies'"
        )


def check_toxicity(toxicity: ToxicitySettings, texts: Sequence[str]) -> None:
    """Data sets that the user's own comparisons name are configured; defaults may lack theirs."""
    named = [
        *(
            ("hard_negatives", name)
            for c in toxicity.hard_negatives
            for name in (c.dataset, c.easy)
        ),
        *(("transfer", name) for t in toxicity.transfer for name in (t.train, t.test)),
    ]
    defaults = ToxicitySettings()
    for key, name in named:
        # Not by which keys were given: the report's stage is handed every key.
        if name not in texts and getattr(toxicity, key) != getattr(defaults, key):
            raise ValueError(
                f"the key 'toxicity.{key}' names the dataset '{name}', and the text "
                f"datasets of the configuration are {', '.join(texts)}"
            )


def check_directions(directions: Directions, texts: Sequence[str]) -> None:
    """Data sets that a user's own directions name are configured; defaults may lack theirs."""
    for number, target in enumerate(directions.targets):
        if target.dataset and target not in DEFAULT_TARGETS:
            check_texts(f"neurons.directions.targets[{number}].dataset", target.dataset, texts)


def check_neurons(neurons: NeuronsSettings, models: Sequence[str], datasets: Sequence[str]) -> None:
    """Models and data that the neuron study names are configured, and the tuned model's is free."""
    named = [
        ("neurons.fine_tune.model", neurons.fine_tune.model, models),
        ("neurons.fine_tune.dataset", neurons.fine_tune.dataset, datasets),
        ("neurons.activation.dataset", neurons.activation.dataset, datasets),
        *(("neurons.contexts.datasets", name, datasets) for name in neurons.contexts.datasets),
        *(
            ("neurons.comparison.pairs", name, models)
            for pair in neurons.comparison.pairs
            for name in (pair.a, pair.b)
        ),
    ]
    for key, name, known in named:
        # An empty name stands for the first that is configured.
        if name and name not in known:
            raise ValueError(
                f"the key '{key}' names '{name}', which is not configured; known are "
                f"{', '.join(known) or 'none'}"
            )
    tuned = neurons.tuned(models, datasets)
    if tuned is not None and tuned.name in models:
        raise ValueError(
            f"the tuned model would be called '{tuned.name}', which 'models' holds already; "
            "give neurons.fine_tune.name another value"
        )
    unmapped = [name for name in neurons.comparison.matrices if name not in neurons.map.matrices]
    if unmapped and neurons.pairs(models, datasets):
        raise ValueError(
            f"the key 'neurons.comparison.matrices' names '{unmapped[0]}', which "
            "'neurons.map.matrices' lacks; a comparison reads the map of the first model, so name "
            "it in both, or in none"
        )
