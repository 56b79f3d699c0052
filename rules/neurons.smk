# Neurons in words: decode MLP weights through the LM head, search, compare, clamp, validate.
NEURONS = CONFIG.neurons
NEURON_DATASET = NEURONS.activation_dataset(DATASETS)
TUNED = NEURONS.tuned(MODELS, DATASETS)
PAIRS = NEURONS.pairs(MODELS, DATASETS)
# A map in one part is the whole map; several parts are joined.
MAP_PART = "" if NEURONS.map.parts == 1 else "map/{part}."


# What a map, or one part of it, depends on.
map_settings = lambda wildcards: (
    settings_json(map=NEURONS.map, part=int(wildcards.get("part", 0)))
)

# The texts on which every neuron is watched; without any there are no contexts.
CONTEXT_DATASETS = NEURONS.context_datasets(DATASETS)
# Of one part there is nothing to join.
CONTEXT_PART = "" if NEURONS.contexts.shards == 1 else "contexts/{shard}-of-{shards}."

# What one part of the contexts depends on.
context_settings = lambda wildcards: (
    settings_json(
        seed=CONFIG.seed,
        precision=CONFIG.precision,
        contexts=NEURONS.contexts,
        datasets=CONTEXT_DATASETS,
        shard=int(wildcards.get("shard", 1)),
    )
)

# One table of contexts from every part of the texts, in order.
context_parts = lambda table: (
    lambda wildcards: expand(
        "results/neurons/{model}/contexts/{shard}.{table}.parquet",
        model=wildcards.model,
        shard=NEURONS.contexts.shard_names,
        table=table,
    )
)

# The concepts whose texts are configured, and the data sets that they name.
STEERED = NEURONS.directions.targets_among([dataset.name for dataset in CONFIG.texts])
STEERED_DATASETS = sorted({target.dataset for target in STEERED if target.dataset})

# What clamps, favourites and edits depend on.
clamp_settings = lambda wildcards: (
    settings_json(
        seed=CONFIG.seed,
        precision=CONFIG.precision,
        named=NEURONS.search.concepts,
        clamping=NEURONS.clamping,
        favourite=NEURONS.favourite,
        edit=NEURONS.edit,
        chat=CONFIG.chat(wildcards.model),
    )
)

# The parts of a model's map, in the order of its layers.
map_parts = lambda table: (
    lambda wildcards: expand(
        "results/neurons/{model}/map/{part}.{table}.parquet",
        model=wildcards.model,
        part=range(NEURONS.map.parts),
        table=table,
    )
)

# Provenance of the first or second model of a pair.
pair_model = lambda which: (
    lambda wildcards: f"results/models/{PAIRS[wildcards.pair][which]}/provenance.json"
)

# What belongs to the two models of a pair.
pair_parts = lambda wildcards: (
    [file for name in PAIRS[wildcards.pair] for file in model_parts(name)]
)

# The map of the first model of a pair.
pair_vocabulary = lambda wildcards: (
    f"results/neurons/{PAIRS[wildcards.pair][0]}/vocabulary.parquet"
)


rule map_neurons:
    """Top and bottom tokens and statistics of the neurons of some layers, from the weights alone."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
    output:
        vocabulary=f"results/neurons/{{model}}/{MAP_PART}vocabulary.parquet",
        statistics=f"results/neurons/{{model}}/{MAP_PART}statistics.parquet",
    log:
        f"logs/map_neurons/{{model}}/{MAP_PART}vocabulary.log",
    benchmark:
        f"logs/benchmarks/map_neurons/{{model}}/{MAP_PART}vocabulary.tsv"
    wildcard_constraints:
        part=r"\d+",
    # As in extract_activations: long, and much waits for it.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("map_neurons", CONFIG),
    params:
        *stage_code("map_neurons"),
        settings=map_settings,
    shell:
        stage_command("map_neurons")


if NEURONS.map.parts > 1:

    rule join_neurons:
        """One table of all layers' tokens and one of their statistics."""
        input:
            vocabulary_parts=map_parts("vocabulary"),
            statistics_parts=map_parts("statistics"),
        output:
            vocabulary="results/neurons/{model}/vocabulary.parquet",
            statistics="results/neurons/{model}/statistics.parquet",
        log:
            "logs/join_neurons/{model}.log",
        benchmark:
            "logs/benchmarks/join_neurons/{model}.tsv"
        resources:
            **planned("join_neurons", CONFIG),
        params:
            *stage_code("join_neurons"),
            settings=settings_json(),
        shell:
            stage_command("join_neurons")


rule find_contexts:
    """The texts on which every neuron of every layer is strongest, and how active it is."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        texts=expand("results/data/{dataset}.parquet", dataset=CONTEXT_DATASETS),
    output:
        contexts=f"results/neurons/{{model}}/{CONTEXT_PART}contexts.parquet",
        activity=f"results/neurons/{{model}}/{CONTEXT_PART}activity.parquet",
    log:
        f"logs/find_contexts/{{model}}/{CONTEXT_PART}contexts.log",
    benchmark:
        f"logs/benchmarks/find_contexts/{{model}}/{CONTEXT_PART}contexts.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("find_contexts", CONFIG),
    params:
        *stage_code("find_contexts"),
        settings=context_settings,
    shell:
        stage_command("find_contexts")


if NEURONS.contexts.shards > 1:

    rule join_contexts:
        """The strongest texts of all parts, and the activity over all of them."""
        input:
            context_parts=context_parts("contexts"),
            activity_parts=context_parts("activity"),
        output:
            contexts="results/neurons/{model}/contexts.parquet",
            activity="results/neurons/{model}/activity.parquet",
        log:
            "logs/join_contexts/{model}.log",
        benchmark:
            "logs/benchmarks/join_contexts/{model}.tsv"
        resources:
            **planned("join_contexts", CONFIG),
        params:
            *stage_code("join_contexts"),
            settings=settings_json(count=NEURONS.contexts.count),
        shell:
            stage_command("join_contexts")


rule compare_contexts:
    """The words of every neuron against the contexts on which it fires, and against shuffles."""
    input:
        vocabulary="results/neurons/{model}/vocabulary.parquet",
        contexts="results/neurons/{model}/contexts.parquet",
    output:
        context_words="results/neurons/{model}/context_words.parquet",
        context_overlap="results/neurons/{model}/context_overlap.parquet",
    log:
        "logs/compare_contexts/{model}.log",
    benchmark:
        "logs/benchmarks/compare_contexts/{model}.tsv"
    resources:
        **planned("compare_contexts", CONFIG),
    params:
        *stage_code("compare_contexts"),
        settings=settings_json(seed=CONFIG.seed, contexts=NEURONS.contexts),
    shell:
        stage_command("compare_contexts")


rule find_neighbours:
    """The neurons most like every neuron, by weights and by activations on texts."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        texts=expand("results/data/{dataset}.parquet", dataset=CONTEXT_DATASETS),
    output:
        neighbours="results/neurons/{model}/neighbours.parquet",
    log:
        "logs/find_neighbours/{model}.log",
    benchmark:
        "logs/benchmarks/find_neighbours/{model}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("find_neighbours", CONFIG),
    params:
        *stage_code("find_neighbours"),
        settings=settings_json(
            seed=CONFIG.seed,
            precision=CONFIG.precision,
            neighbours=NEURONS.neighbours,
            datasets=CONTEXT_DATASETS,
        ),
    shell:
        stage_command("find_neighbours")


rule find_concepts:
    """The most specific neurons of every configured concept, from the weights alone."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
    output:
        concepts="results/neurons/{model}/concepts.parquet",
        concept_tokens="results/neurons/{model}/concept_tokens.parquet",
    log:
        "logs/find_concepts/{model}.log",
    benchmark:
        "logs/benchmarks/find_concepts/{model}.tsv"
    # Long, or a long job waits for it: begun late, that would run alone at the end.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("find_concepts", CONFIG),
    params:
        *stage_code("find_concepts"),
        settings=settings_json(seed=CONFIG.seed, map=NEURONS.map, search=NEURONS.search),
    shell:
        stage_command("find_concepts")


rule clamp_neurons:
    """What the model says while concept neurons are clamped, or concept weights reversed."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        concepts="results/neurons/{model}/concepts.parquet",
    output:
        clamping="results/neurons/{model}/clamping.parquet",
        favourite="results/neurons/{model}/favourite.parquet",
        edits="results/neurons/{model}/edits.parquet",
    log:
        "logs/clamp_neurons/{model}.log",
    benchmark:
        "logs/benchmarks/clamp_neurons/{model}.tsv"
    # Long, or a long job waits for it: begun late, that would run alone at the end.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("clamp_neurons", CONFIG),
    params:
        *stage_code("clamp_neurons"),
        settings=clamp_settings,
    shell:
        stage_command("clamp_neurons")


rule steer_directions:
    """What the model says while a concept's direction is added or projected out, beside clamps."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        concepts="results/neurons/{model}/concepts.parquet",
        texts=expand("results/data/{dataset}.parquet", dataset=STEERED_DATASETS),
    output:
        directions="results/neurons/{model}/directions.parquet",
        steering="results/neurons/{model}/steering.parquet",
        equal_fluency="results/neurons/{model}/equal_fluency.parquet",
    log:
        "logs/steer_directions/{model}.log",
    benchmark:
        "logs/benchmarks/steer_directions/{model}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("steer_directions", CONFIG),
    params:
        *stage_code("steer_directions"),
        settings=settings_json(
            seed=CONFIG.seed,
            precision=CONFIG.precision,
            named=NEURONS.search.concepts,
            directions=NEURONS.directions,
            held_text=NEURONS.clamping.held_text,
            datasets=STEERED_DATASETS,
        ),
    shell:
        stage_command("steer_directions")


rule validate_neurons:
    """Whether a clamp raises the token that a neuron decodes to, and texts with it make it fire."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        vocabulary="results/neurons/{model}/vocabulary.parquet",
        texts=[f"results/data/{NEURON_DATASET}.parquet"] if NEURON_DATASET else [],
    output:
        validation="results/neurons/{model}/validation.parquet",
        sign_tests="results/neurons/{model}/sign_tests.parquet",
        activation=(
            ["results/neurons/{model}/activation.parquet"] if NEURON_DATASET else []
        ),
    log:
        "logs/validate_neurons/{model}.log",
    benchmark:
        "logs/benchmarks/validate_neurons/{model}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("validate_neurons", CONFIG),
    params:
        *stage_code("validate_neurons"),
        settings=settings_json(
            seed=CONFIG.seed,
            precision=CONFIG.precision,
            validation=NEURONS.validation,
            activation=NEURONS.activation,
        ),
    shell:
        stage_command("validate_neurons")


if TUNED:

    rule fine_tune:
        """A short seeded fine-tune that gives a model a counterpart of the same shapes."""
        input:
            model_parts(TUNED.base),
            model=f"results/models/{TUNED.base}/provenance.json",
            texts=f"results/data/{TUNED.dataset}.parquet",
        output:
            f"results/models/{TUNED.name}/architecture.json",
            directory(f"results/models/{TUNED.name}/weights"),
            provenance=f"results/models/{TUNED.name}/provenance.json",
            training=f"results/models/{TUNED.name}/training.parquet",
        log:
            f"logs/fine_tune/{TUNED.name}.log",
        benchmark:
            f"logs/benchmarks/fine_tune/{TUNED.name}.tsv"
        # As in extract_activations: long, and much waits for it.
        priority: 1
        threads: CONFIG.compute.threads
        resources:
            **planned("fine_tune", CONFIG),
        params:
            *stage_code("fine_tune"),
            settings=settings_json(seed=CONFIG.seed, fine_tune=NEURONS.fine_tune),
        shell:
            stage_command("fine_tune")


rule compare_models:
    """Share of neurons with the same top token in two models, by layer, and the most changed."""
    input:
        pair_parts,
        model_a=pair_model(0),
        model_b=pair_model(1),
        vocabulary_a=pair_vocabulary,
    output:
        agreement="results/neurons/{pair}/agreement.parquet",
        changed="results/neurons/{pair}/changed.parquet",
    log:
        "logs/compare_models/{pair}.log",
    benchmark:
        "logs/benchmarks/compare_models/{pair}.tsv"
    wildcard_constraints:
        pair=one_of(PAIRS),
    threads: CONFIG.compute.threads
    resources:
        **planned("compare_models", CONFIG),
    params:
        *stage_code("compare_models"),
        settings=settings_json(map=NEURONS.map, comparison=NEURONS.comparison),
    shell:
        stage_command("compare_models")


NEURON_TABLES = expand(
    "results/neurons/{model}/{table}.parquet",
    model=MODELS,
    table=[
        "vocabulary",
        "statistics",
        "concepts",
        "concept_tokens",
        "clamping",
        "favourite",
        "validation",
        "sign_tests",
        "edits",
        "neighbours",
        *(["directions", "steering", "equal_fluency"] if STEERED else []),
        *(["activation"] if NEURON_DATASET else []),
        *(
            ["contexts", "activity", "context_words", "context_overlap"]
            if CONTEXT_DATASETS
            else []
        ),
    ],
) + expand(
    "results/neurons/{pair}/{table}.parquet", pair=PAIRS, table=["agreement", "changed"]
)
TRAINING_TABLES = [f"results/models/{TUNED.name}/training.parquet"] if TUNED else []


rule conclude_neurons:
    """The paper's claims beside what was measured, and the figures."""
    input:
        tables=NEURON_TABLES + TRAINING_TABLES,
    output:
        claims="results/neurons/claims.parquet",
        figures=report(
            directory("results/figures/neurons"),
            patterns=["{name}.png"],
            caption="../workflow/report/neurons.rst",
            category="Neurons",
        ),
    log:
        "logs/conclude_neurons.log",
    benchmark:
        "logs/benchmarks/conclude_neurons.tsv"
    resources:
        **planned("conclude_neurons", CONFIG),
    params:
        *stage_code("conclude_neurons"),
        settings=settings_json(
            models=MODELS,
            pairs=list(PAIRS),
            favourite=NEURONS.favourite.concept,
            tuned=TUNED.name if TUNED else "",
        ),
    shell:
        stage_command("conclude_neurons")


rule neurons:
    """The neuron study: map, concepts, clamps, comparison, validation, figures and claims."""
    input:
        NEURON_TABLES,
        TRAINING_TABLES,
        "results/neurons/claims.parquet",
        "results/figures/neurons",
