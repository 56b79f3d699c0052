# The atlas: pages to explore a run with, opened from disk. One part per study and model, each
# remade only when its own tables change; the page itself knows the parts by name alone.
ATLAS = "results/atlas"


# Tables of the neuron study that a model's neurons are shown with.
atlas_neuron_tables = expand(
    "results/neurons/{{model}}/{table}.parquet",
    table=[
        "vocabulary",
        "statistics",
        "concepts",
        "clamping",
        "validation",
        *(["activation"] if NEURON_DATASET else []),
    ],
)

# Tables of the facts study that a model's facts are shown with.
atlas_fact_tables = [
    *of_relations(
        "facts",
        "intake",
        "layer_importance",
        "head_importance",
        "head_position_importance",
        "position_importance",
        "neuron_importance",
        "attention_neuron_importance",
    ),
    *expand(
        "results/facts/{{model}}/{table}.parquet",
        table=["query_layers", "query_neurons", "knock_out", "layer_summary"],
    ),
]

# Tables of a model's texts: what was traced, features, dimensions, and scores where there are any.
atlas_text_tables = lambda wildcards: [
    *expand("results/data/{dataset}.parquet", dataset=DATASETS),
    *expand(
        "results/activations/{model}/{dataset}/{shard}/traces.parquet",
        model=wildcards.model,
        dataset=DATASETS,
        shard=GEOMETRY.extraction.shard_names,
    ),
    *expand(
        "results/geometry/{model}/{dataset}/{table}.parquet",
        model=wildcards.model,
        dataset=DATASETS,
        table=["spline_features", "intrinsic_dimension"],
    ),
    *(
        expand(
            "results/toxicity/{model}/{dataset}/predictions.parquet",
            model=wildcards.model,
            dataset=LABELLED,
        )
        if "toxicity" in PICKED_STUDIES
        else []
    ),
]

# A model's closest neurons, and what makes them fire where a data set of texts is configured.
atlas_context_tables = expand(
    "results/neurons/{{model}}/{table}.parquet",
    table=[
        "neighbours",
        *(["contexts", "activity", "context_words"] if CONTEXT_DATASETS else []),
    ],
)

# Which study fills which part.
ATLAS_PARTS = {
    part: study
    for part, study in {
        "neurons": "neurons",
        "contexts": "neurons",
        "facts": "facts",
        "patching": "patching",
        "texts": "geometry",
    }.items()
    if study in PICKED_STUDIES and (part != "texts" or DATASETS)
}


rule atlas_neurons:
    """What every neuron of a model decodes to, by layer and by word, and what was measured of it."""
    input:
        tables=atlas_neuron_tables,
    output:
        part=directory(f"{ATLAS}/neurons/{{model}}"),
    log:
        "logs/atlas_neurons/{model}.log",
    benchmark:
        "logs/benchmarks/atlas_neurons/{model}.tsv"
    resources:
        **planned("atlas_neurons", CONFIG),
    params:
        *stage_code("atlas_neurons"),
        settings=lambda wildcards: settings_json(model=wildcards.model),
    shell:
        stage_command("atlas_neurons")


rule atlas_contexts:
    """The texts on which every neuron of a model fires, token by token, and its neighbours."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        tables=atlas_context_tables,
    output:
        part=directory(f"{ATLAS}/contexts/{{model}}"),
    log:
        "logs/atlas_contexts/{model}.log",
    benchmark:
        "logs/benchmarks/atlas_contexts/{model}.tsv"
    resources:
        **planned("atlas_contexts", CONFIG),
    params:
        *stage_code("atlas_contexts"),
        settings=lambda wildcards: settings_json(model=wildcards.model),
    shell:
        stage_command("atlas_contexts")


rule atlas_facts:
    """Every fact of a model with its layers, heads, neurons, queries and knock-outs."""
    input:
        tables=atlas_fact_tables,
    output:
        part=directory(f"{ATLAS}/facts/{{model}}"),
    log:
        "logs/atlas_facts/{model}.log",
    benchmark:
        "logs/benchmarks/atlas_facts/{model}.tsv"
    resources:
        **planned("atlas_facts", CONFIG),
    params:
        *stage_code("atlas_facts"),
        settings=lambda wildcards: settings_json(
            model=wildcards.model, relations=FACT_RELATIONS
        ),
    shell:
        stage_command("atlas_facts")


rule atlas_patching:
    """Every example of a model's patching tasks, layer by layer, and the curves over examples."""
    input:
        tables=expand(
            "results/patching/{{model}}/{task}/{table}.parquet",
            task=[task.name for task in PATCHING.tasks],
            table=["examples", "pairs", "sweeps", "curves", "depths"],
        ),
    output:
        part=directory(f"{ATLAS}/patching/{{model}}"),
    log:
        "logs/atlas_patching/{model}.log",
    benchmark:
        "logs/benchmarks/atlas_patching/{model}.tsv"
    resources:
        **planned("atlas_patching", CONFIG),
    params:
        *stage_code("atlas_patching"),
        settings=lambda wildcards: settings_json(
            model=wildcards.model, tasks=[task.name for task in PATCHING.tasks]
        ),
    shell:
        stage_command("atlas_patching")


rule atlas_texts:
    """A model's texts token by token, their features, dimensions and scores."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        tables=atlas_text_tables,
    output:
        part=directory(f"{ATLAS}/texts/{{model}}"),
    log:
        "logs/atlas_texts/{model}.log",
    benchmark:
        "logs/benchmarks/atlas_texts/{model}.tsv"
    resources:
        **planned("atlas_texts", CONFIG),
    params:
        *stage_code("atlas_texts"),
        settings=lambda wildcards: settings_json(
            model=wildcards.model, datasets=DATASETS
        ),
    shell:
        stage_command("atlas_texts")


rule atlas_overview:
    """What concerns all models: the papers' claims, and models that were compared."""
    input:
        tables=[
            expand("results/{study}/claims.parquet", study=PICKED_STUDIES),
            (
                expand(
                    "results/neurons/{pair}/{table}.parquet",
                    pair=PAIRS,
                    table=["agreement", "changed"],
                )
                if "neurons" in PICKED_STUDIES
                else []
            ),
        ],
    output:
        part=directory(f"{ATLAS}/overview"),
    log:
        "logs/atlas_overview.log",
    benchmark:
        "logs/benchmarks/atlas_overview.tsv"
    resources:
        **planned("atlas_overview", CONFIG),
    params:
        *stage_code("atlas_overview"),
        settings=settings_json(
            studies=PICKED_STUDIES,
            pairs=list(PAIRS.values()) if "neurons" in PICKED_STUDIES else [],
        ),
    shell:
        stage_command("atlas_overview")


rule atlas:
    """The atlas: open results/atlas/index.html in a browser, from disk or from any web server."""
    input:
        project_files(package_files("atlas/site")),
        project_files(package_files("report/vendor")),
        f"{ATLAS}/overview",
        [expand(f"{ATLAS}/{part}/{{model}}", model=MODELS) for part in ATLAS_PARTS],
    output:
        page=f"{ATLAS}/index.html",
        assets=directory(f"{ATLAS}/assets"),
    log:
        "logs/atlas.log",
    benchmark:
        "logs/benchmarks/atlas.tsv"
    resources:
        **planned("atlas", CONFIG),
    params:
        *stage_code("atlas"),
        settings=settings_json(models=MODELS, parts=list(ATLAS_PARTS)),
    shell:
        stage_command("atlas")
