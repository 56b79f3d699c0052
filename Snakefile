# LLM Anatomy: takes a decoder language model apart in four ways.
#
# Results lie at results/{study}/{model}/{dataset, task or relation}/{table}.parquet; docs/tables.md
# says what every column means, and `snakemake --list-target-rules` what can be asked for.
from snakemake.utils import min_version

min_version("9.20")


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/prepare.smk"
include: "rules/geometry.smk"
include: "rules/toxicity.smk"
include: "rules/neurons.smk"
include: "rules/patching.smk"
include: "rules/facts.smk"
include: "rules/report.smk"
include: "rules/atlas.smk"
include: "rules/targets.smk"


# Here and not in an included file, from which Snakemake would not take the default target.
rule all:
    """Every study that the configuration names, the report and the manifest."""
    default_target: True
    input:
        STUDY_RESULTS,
        "results/report.html",
        "results/atlas/index.html",
        "results/manifest.json",


complete_rules(workflow, "../envs/llm_anatomy.yaml")
