# Input functions and settings of rules/facts.smk.
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

if "facts" in CONFIG.studies:
    for name in FACT_RELATIONS:
        if name not in RELATIONS:
            sys.exit(
                f"Error: the key 'facts.relations' names '{name}', which is no relation of "
                f"'datasets'; known are {', '.join(RELATIONS) or 'none'}"
            )


def of_relations(*tables):
    """Tables of every relation of a model."""
    return expand(
        "results/facts/{{model}}/{relation}/{table}.parquet",
        relation=FACT_RELATIONS,
        table=tables,
    )


def attribution_settings(wildcards):
    """What the importance of one relation's facts depends on."""
    return settings_json(
        seed=CONFIG.seed,
        precision=CONFIG.precision,
        relation=FACTS.relation(wildcards.relation),
        filter=FACTS.filter,
        attribution=FACTS.attribution,
    )


def of_models(table):
    """One facts table of every model."""
    return expand("results/facts/{model}/{table}.parquet", model=MODELS, table=table)
