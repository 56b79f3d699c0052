# The manifest of everything that the configuration asks for.
STUDY_RESULTS = [getattr(rules, study).input for study in CONFIG.studies]


# With object storage every result, because there a job sees no file that it does not name; else
# nothing: the stage reads the whole folder.
stored_results = lambda wildcards: (
    files_behind(
        workflow,
        [*sum(STUDY_RESULTS, []), rules.report.output.report, rules.atlas.output.page],
    )
    if storage_places(rules.write_manifest.output.manifest)
    else []
)


rule write_manifest:
    """Hash, rule, inputs, parameters and code of every result; `make verify` checks them."""
    input:
        stored_results,
        STUDY_RESULTS,
        "results/report.html",
        "results/atlas/index.html",
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
if places := storage_places(rules.write_manifest.output.manifest):
    os.environ[PLACES_VARIABLE] = "\n".join(map(os.path.dirname, places))
