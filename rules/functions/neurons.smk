# Input functions and settings of rules/neurons.smk.
NEURONS = CONFIG.neurons
NEURON_DATASET = NEURONS.activation.dataset or (DATASETS[0] if DATASETS else None)
TUNED_DATASET = NEURONS.fine_tune.dataset or (DATASETS[0] if DATASETS else None)
TUNED_BASE = NEURONS.fine_tune.model or MODELS[0]
TUNED = f"{TUNED_BASE}-{NEURONS.fine_tune.name}"
FINE_TUNES = NEURONS.comparison.fine_tuned and TUNED_DATASET is not None
# Of the search, later stages read the words only.
NAMED_CONCEPTS = [
    concept.model_dump(mode="json") for concept in NEURONS.search.concepts
]

if "neurons" in CONFIG.studies:
    for key, name, known in (
        ("neurons.fine_tune.model", TUNED_BASE, MODELS),
        ("neurons.fine_tune.dataset", TUNED_DATASET, [*DATASETS, None]),
        ("neurons.activation.dataset", NEURON_DATASET, [*DATASETS, None]),
        *(
            ("neurons.comparison.pairs", name, MODELS)
            for pair in NEURONS.comparison.pairs
            for name in (pair.a, pair.b)
        ),
    ):
        if name not in known:
            sys.exit(
                f"Error: the key '{key}' names '{name}', which is not configured; known are "
                f"{', '.join(str(k) for k in known if k is not None) or 'none'}"
            )
    if FINE_TUNES and TUNED in MODELS:
        sys.exit(
            f"Error: the tuned model would be called '{TUNED}', which 'models' holds already; "
            "give neurons.fine_tune.name another value"
        )

# A map in one part is the whole map; several parts are joined.
MAP_PART, MAP_LOG = ("", "") if NEURONS.map.parts == 1 else ("map/{part}.", "/{part}")

PAIRS = [f"{pair.a}-vs-{pair.b}" for pair in NEURONS.comparison.pairs]
if FINE_TUNES:
    PAIRS.append(f"{TUNED_BASE}-vs-{TUNED}")
PAIR_MODELS = {
    **{f"{pair.a}-vs-{pair.b}": (pair.a, pair.b) for pair in NEURONS.comparison.pairs},
    **({f"{TUNED_BASE}-vs-{TUNED}": (TUNED_BASE, TUNED)} if FINE_TUNES else {}),
}


def map_settings(wildcards):
    """What a map, or one part of it, depends on."""
    return settings_json(map=NEURONS.map, part=int(wildcards.get("part", 0)))


def map_parts(table):
    """The parts of a model's map, in the order of its layers."""

    def of_model(wildcards):
        return [
            f"results/neurons/{wildcards.model}/map/{part}.{table}.parquet"
            for part in range(NEURONS.map.parts)
        ]

    return of_model


def pair_model(which):
    """Provenance of the first or second model of a pair."""

    def of_pair(wildcards):
        return f"results/models/{PAIR_MODELS[wildcards.pair][which]}/provenance.json"

    return of_pair


def pair_parts(wildcards):
    """What belongs to the two models of a pair."""
    return [file for name in PAIR_MODELS[wildcards.pair] for file in model_parts(name)]


def pair_vocabulary(wildcards):
    """The map of the first model of a pair."""
    return f"results/neurons/{PAIR_MODELS[wildcards.pair][0]}/vocabulary.parquet"
