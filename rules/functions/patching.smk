# Input functions and settings of rules/patching.smk.
PATCHING_TASKS = [task.name for task in CONFIG.patching.tasks]

if "patching" in CONFIG.studies:
    for task in CONFIG.patching.tasks:
        relation, file = getattr(task, "relation", None), getattr(task, "file", None)
        if relation is not None and relation not in RELATIONS:
            sys.exit(
                f"Error: the patching task '{task.name}' names the relation '{relation}', which "
                f"is not a relation in 'datasets' ({', '.join(RELATIONS) or 'there is none'})"
            )
        if workflow.is_main_process and file is not None and not file.exists():
            sys.exit(
                f"Error: the patching task '{task.name}' names the file '{file}', which does not "
                "exist; give a path from the working directory"
            )


def patching_source(wildcards):
    """What a task is made from: a relation of the configuration, a file, or nothing."""
    task = CONFIG.patching.task(wildcards.task)
    if getattr(task, "relation", None) is not None:
        return f"results/data/{task.relation}.parquet"
    file = getattr(task, "file", None)
    # A hub dataset and generated questions have no file; the model's record stands in.
    return (
        f"results/models/{wildcards.model}/provenance.json"
        if file is None
        else local(str(file))
    )


def patching_task_settings(wildcards):
    """What the examples of a task depend on."""
    manipulations = CONFIG.patching.task_manipulations(wildcards.task)
    return settings_json(
        seed=CONFIG.seed,
        task=CONFIG.patching.task(wildcards.task),
        switches=any(manipulation.kind == "switch" for manipulation in manipulations),
    )


def patching_sweep_settings(wildcards):
    """What the sweeps of a task depend on."""
    return settings_json(
        seed=CONFIG.seed,
        precision=CONFIG.precision,
        task=CONFIG.patching.task(wildcards.task),
        manipulations=CONFIG.patching.task_manipulations(wildcards.task),
        layers=CONFIG.patching.layers,
        method=CONFIG.patching.method,
    )


def per_patching_run(table):
    """One table of every model and task, model by model."""
    return expand(
        "results/patching/{model}/{task}/{table}.parquet",
        model=MODELS,
        task=PATCHING_TASKS,
        table=table,
    )
