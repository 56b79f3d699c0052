# Where facts come from: importance of layers, heads and neurons, queries, knock-outs.
FACTS = CONFIG.facts
FACT_RELATIONS = [item.relation for item in FACTS.relations]
FACT_TABLES = [
    "facts",
    "intake",
    "layer_importance",
    "head_importance",
    "head_position_importance",
    "position_importance",
    "neuron_importance",
    "attention_neuron_importance",
    "certificates",
    "curve",
    "sums",
]
UNIT_TABLES = [
    "unit_scores",
    "exact_losses",
    "attribution_agreement",
    "faithfulness",
    "faithfulness_areas",
    "area_differences",
]
GRID_TABLES = ["lens_grid", "traced_facts", "tracing_grid", "tracing_effects"]

# Tables of every relation of a model.
of_relations = lambda *tables: (
    expand(
        "results/facts/{{model}}/{relation}/{table}.parquet",
        relation=FACT_RELATIONS,
        table=tables,
    )
)

# One facts table of every model.
of_models = lambda table: (
    expand("results/facts/{model}/{table}.parquet", model=MODELS, table=table)
)

# What the importance of one relation's facts depends on.
attribution_settings = lambda wildcards: (
    settings_json(
        seed=CONFIG.seed,
        precision=CONFIG.precision,
        relation=FACTS.relation(wildcards.relation),
        filter=FACTS.filter,
        attribution=FACTS.attribution,
    )
)


rule attribute_facts:
    """Importance of layers, heads, positions and neurons for every fact of a relation."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        relation="results/data/{relation}.parquet",
    output:
        results=expand(
            "results/facts/{{model}}/{{relation}}/{table}.parquet", table=FACT_TABLES
        ),
    log:
        "logs/attribute_facts/{model}/{relation}.log",
    benchmark:
        "logs/benchmarks/attribute_facts/{model}/{relation}.tsv"
    # With what follows it the longest chain of a default run.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("attribute_facts", CONFIG),
    params:
        *stage_code("attribute_facts"),
        settings=attribution_settings,
    shell:
        stage_command("attribute_facts")


rule trace_queries:
    """Which layers and neurons activate the value neurons of every fact."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        tables=of_relations("facts", "neuron_importance", "attention_neuron_importance"),
    output:
        results=[
            "results/facts/{model}/query_layers.parquet",
            "results/facts/{model}/query_neurons.parquet",
        ],
    log:
        "logs/trace_queries/{model}.log",
    benchmark:
        "logs/benchmarks/trace_queries/{model}.tsv"
    # Long, or a long job waits for it: begun late, that would run alone at the end.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("trace_queries", CONFIG),
    params:
        *stage_code("trace_queries"),
        settings=settings_json(
            precision=CONFIG.precision, relations=FACT_RELATIONS, queries=FACTS.queries
        ),
    shell:
        stage_command("trace_queries")


rule knock_out:
    """Every answer with its units switched off, and with other relations' heads off."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        tables=[
            *of_relations(
                "facts",
                "layer_importance",
                "head_importance",
                "neuron_importance",
                "attention_neuron_importance",
            ),
            "results/facts/{model}/query_neurons.parquet",
        ],
    output:
        results=[
            "results/facts/{model}/knock_out.parquet",
            "results/facts/{model}/method_layers.parquet",
        ],
    log:
        "logs/knock_out/{model}.log",
    benchmark:
        "logs/benchmarks/knock_out/{model}.tsv"
    # With what follows it the longest chain of a default run.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("knock_out", CONFIG),
    params:
        *stage_code("knock_out"),
        settings=settings_json(
            seed=CONFIG.seed,
            precision=CONFIG.precision,
            relations=FACT_RELATIONS,
            attribution=FACTS.attribution,
            knock_out=FACTS.knock_out,
        ),
    shell:
        stage_command("knock_out")


rule attribute_units:
    """Scores of a relation's units by gradients, held against exact losses and faithfulness."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        facts="results/facts/{model}/{relation}/facts.parquet",
    output:
        results=expand(
            "results/facts/{{model}}/{{relation}}/{table}.parquet", table=UNIT_TABLES
        ),
    log:
        "logs/attribute_units/{model}/{relation}.log",
    benchmark:
        "logs/benchmarks/attribute_units/{model}/{relation}.tsv"
    # Long, or a long job waits for it: begun late, that would run alone at the end.
    priority: 1
    threads: CONFIG.compute.threads
    resources:
        **planned("attribute_units", CONFIG),
    params:
        *stage_code("attribute_units"),
        settings=settings_json(
            seed=CONFIG.seed, precision=CONFIG.precision, units=FACTS.units
        ),
    shell:
        stage_command("attribute_units")


rule trace_states:
    """Logit lens and causal tracing of a relation's prompts, by layer and position."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        facts="results/facts/{model}/{relation}/facts.parquet",
    output:
        results=expand(
            "results/facts/{{model}}/{{relation}}/{table}.parquet", table=GRID_TABLES
        ),
    log:
        "logs/trace_states/{model}/{relation}.log",
    benchmark:
        "logs/benchmarks/trace_states/{model}/{relation}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("trace_states", CONFIG),
    params:
        *stage_code("trace_states"),
        settings=settings_json(
            seed=CONFIG.seed, precision=CONFIG.precision, grids=FACTS.grids
        ),
    shell:
        stage_command("trace_states")


rule summarise_facts:
    """Means over the facts of every relation: layers, heads, knock-outs, shared neurons."""
    input:
        tables=[
            *of_relations("layer_importance", "head_importance", "neuron_importance"),
            "results/facts/{model}/query_layers.parquet",
            "results/facts/{model}/query_neurons.parquet",
            "results/facts/{model}/knock_out.parquet",
        ],
    output:
        results=[
            "results/facts/{model}/layer_summary.parquet",
            "results/facts/{model}/knock_out_summary.parquet",
            "results/facts/{model}/shared_neurons.parquet",
        ],
    log:
        "logs/summarise_facts/{model}.log",
    benchmark:
        "logs/benchmarks/summarise_facts/{model}.tsv"
    resources:
        **planned("summarise_facts", CONFIG),
    params:
        *stage_code("summarise_facts"),
        settings=settings_json(relations=FACT_RELATIONS),
    shell:
        stage_command("summarise_facts")


rule read_case:
    """One fact read closely: its best units, where they look, and what they say."""
    input:
        model_parts("{model}"),
        model="results/models/{model}/provenance.json",
        tables=[
            *of_relations("facts"),
            "results/facts/{model}/query_neurons.parquet",
        ],
    output:
        results=[
            "results/facts/{model}/case_study.parquet",
            "results/facts/{model}/case_contrasts.parquet",
            "results/facts/{model}/case_attention.parquet",
        ],
    log:
        "logs/read_case/{model}.log",
    benchmark:
        "logs/benchmarks/read_case/{model}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **planned("read_case", CONFIG),
    params:
        *stage_code("read_case"),
        settings=settings_json(
            precision=CONFIG.precision,
            attribution=FACTS.attribution,
            case_study=FACTS.case_study,
        ),
    shell:
        stage_command("read_case")


# What the claims and the figures read of every model, beside the tables of its relations.
CONCLUDED_TABLES = [
    "layer_summary",
    "knock_out",
    "knock_out_summary",
    "query_neurons",
    "method_layers",
    "shared_neurons",
    "case_study",
    "case_contrasts",
    "case_attention",
]


rule conclude_facts:
    """What the paper says about facts, what was measured here, and the figures."""
    input:
        tables=[
            expand(
                "results/facts/{model}/{relation}/{table}.parquet",
                model=MODELS,
                relation=FACT_RELATIONS,
                table=["facts", "intake", "curve", "neuron_importance"],
            ),
            expand(
                "results/facts/{model}/{table}.parquet",
                model=MODELS,
                table=CONCLUDED_TABLES,
            ),
            expand(
                "results/facts/{model}/{relation}/{table}.parquet",
                model=MODELS,
                relation=FACTS.unit_relations,
                table=[
                    "faithfulness",
                    "faithfulness_areas",
                    "area_differences",
                    "attribution_agreement",
                ],
            ),
            expand(
                "results/facts/{model}/{relation}/{table}.parquet",
                model=MODELS,
                relation=FACTS.grid_relations,
                table=["lens_grid", "traced_facts", "tracing_effects"],
            ),
        ],
    output:
        claims="results/facts/claims.parquet",
        figures=report(
            directory("results/figures/facts"),
            patterns=["{name}.png"],
            caption="../workflow/report/facts.rst",
            category="Facts",
        ),
    log:
        "logs/conclude_facts.log",
    benchmark:
        "logs/benchmarks/conclude_facts.tsv"
    resources:
        **planned("conclude_facts", CONFIG),
    params:
        *stage_code("conclude_facts"),
        settings=settings_json(
            seed=CONFIG.seed, models=MODELS, relations=FACT_RELATIONS
        ),
    shell:
        stage_command("conclude_facts")


rule facts:
    """Everything of the facts study: tables, claims and figures."""
    input:
        of_models("knock_out_summary"),
        of_models("layer_summary"),
        of_models("shared_neurons"),
        of_models("case_study"),
        "results/facts/claims.parquet",
        "results/figures/facts",
