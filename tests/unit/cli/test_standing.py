"""What is stale, and why, in words: from sentences that Snakemake printed."""

from llm_anatomy.cli.standing import described, stale_jobs
from llm_anatomy.plan.jobs import PlannedJob

CODE = "'code llm_anatomy/neurons/scan.py 0123456789abcdef'"
NEW_CODE = "'code llm_anatomy/neurons/scan.py fedcba9876543210'"
OLD = '\'{"map": {"layers": [0, 1], "top": 5}, "seed": 0, "text": "it\\\'s; a: now: b"}\''
NEW = '\'{"map": {"layers": [0, 1], "top": 9}, "seed": 3, "text": "it\\\'s; a: now: b"}\''
UNION = "Params have changed since last execution: Union of exclusive params before and now across"


def job(rule, wildcards, reason):
    return f"Job 3: {rule}: What it does. {wildcards}\nReason: {reason}\n"


def reasons(reason):
    (found,) = stale_jobs(job("map_neurons", "model=tiny", reason))
    return list(found.reasons)


def test_reasons_are_said_in_words():
    assert reasons("Updated input files: a.csv, b.csv") == ["changed: a.csv, b.csv"]
    assert reasons("Input files updated by another job: results/x.parquet") == []
    assert reasons("Code has changed since last execution") == ["the rule's command changed"]
    assert reasons(
        "Set of input files has changed since last execution; Input files updated by another job: c"
    ) == ["reads other files than before"]
    assert reasons("Missing output files: a, b, c, d, e") == ["not made yet: a, b, c and 2 more"]
    assert reasons("A sentence of a later Snakemake") == ["A sentence of a later Snakemake"]


def test_changed_settings_and_code_are_named():
    both = f"{UNION} all output: before: {CODE},{OLD} now: {NEW_CODE},{NEW} "
    assert reasons(both) == [
        "code changed: llm_anatomy/neurons/scan.py",
        "settings changed: map.top, seed",
    ]
    code = f"{UNION} all output: before: <nothing exclusive> now: {CODE} "
    assert reasons(code) == ["code changed: llm_anatomy/neurons/scan.py"]


def test_counts_by_study_and_tells_causes_from_what_follows():
    every = [
        PlannedJob("build_dataset", {"dataset": "remarks"}),
        PlannedJob("map_neurons", {"model": "tiny"}),
        PlannedJob("conclude_neurons", {}),
        PlannedJob("report", {}),
    ]
    text = (
        job("map_neurons", "model=tiny", f"{UNION} all output: before: {OLD} now: {NEW} ")
        + job("conclude_neurons", "", "Input files updated by another job: x")
        + job("report", "", "Missing output files: results/report.html")
        + job("all", "", "Input files updated by another job: results/report.html")
    )
    said = described(every, list(stale_jobs(text)))
    assert "1 of 4 jobs are done" in said
    assert "models and data  1 of 1" in said
    assert "neurons          0 of 2" in said
    assert "Not made yet, or deleted: 1 jobs (report)." in said
    assert "  map_neurons tiny: settings changed: map.top, seed" in said
    assert "1 further jobs follow from these." in said


def test_everything_done_needs_no_remedy():
    said = described([PlannedJob("report", {})], [])
    assert "1 of 1 jobs are done" in said
    assert "llm-anatomy run" not in said
