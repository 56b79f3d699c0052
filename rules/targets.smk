# The manifest of everything that the configuration asks for.
def stored_results(wildcards):
    """With object storage every result, because there a job sees no file that it does not name;
    else nothing: the stage reads the whole folder."""
    if not rules.write_manifest.output.manifest.is_storage:
        return []
    found, waiting = {}, [*sum(STUDY_RESULTS, []), rules.report.output.report]
    while waiting:
        file = waiting.pop()
        maker = next((made for made in workflow.rules if made.is_producer(file)), None)
        if maker is not None and file not in found:
            named = maker.get_wildcards(file)
            made, *_ = maker.expand_output(named)
            needed, *_ = maker.expand_input(named)
            found |= dict.fromkeys([file, *made])
            waiting += needed
    return list(found)


STUDY_RESULTS = [getattr(rules, study).input for study in CONFIG.studies]


rule write_manifest:
    """Hash, rule, inputs, parameters and code of every result; `make verify` checks them."""
    input:
        stored_results,
        STUDY_RESULTS,
        "results/report.html",
    output:
        manifest="results/manifest.json",
    log:
        "logs/write_manifest.log",
    benchmark:
        "logs/benchmarks/write_manifest.tsv"
    resources:
        **planned("write_manifest", CONFIG),
    params:
        *stage_code("write_manifest"),
        settings=settings_json(),
    shell:
        stage_command("write_manifest")


# Snakemake's records of what ran lie on the machine that started the run, and a job of a group is
# recorded when its whole group has ended.
localrules:
    write_manifest,


# With object storage: where jobs find copies of results, and their address in those records.
if rules.write_manifest.output.manifest.is_storage:
    copies = rules.write_manifest.output.manifest
    places = [copies, copies.storage_object.query]
    os.environ[PLACES_VARIABLE] = "\n".join(map(os.path.dirname, places))
