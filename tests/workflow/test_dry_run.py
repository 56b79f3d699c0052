"""Planning a large run takes seconds: 1,000 jobs in 8."""

import math
import resource
import subprocess
import sys

import yaml

from tests.workflow.project import ROOT, Project

JOBS = 1000
SECONDS = 8
# Where the processor is slow, or shared at the moment: so many times what Snakemake takes to start.
STARTS = 7
ATTEMPTS = 2


def processor_seconds(run):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, answer


def start():
    subprocess.run([sys.executable, "-m", "snakemake", "--version"], check=True)


def test_a_dry_run_of_a_thousand_jobs_takes_seconds(tmp_path):
    """The default run of many models; of several attempts the fastest counts."""
    project = Project.copy(tmp_path)

    def plan(models):
        configuration = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        model = configuration["models"][0]
        configuration["models"] = [model | {"name": f"model-{k}"} for k in range(models)]
        (tmp_path / "many.yaml").write_text(yaml.safe_dump(configuration))
        return sum(project.planned("--configfile", "many.yaml").values())

    of_one = plan(1)
    of_each_more = plan(2) - of_one
    models = 1 + math.ceil((JOBS - of_one) / of_each_more)
    for _ in range(ATTEMPTS):
        starting, _ = processor_seconds(start)
        taken, planned = processor_seconds(lambda: plan(models))
        assert planned >= JOBS
        allowed = max(SECONDS, STARTS * starting)
        if taken <= allowed:
            return
    raise AssertionError(f"{planned} jobs took {taken:.1f} s of {allowed:.1f} s")
