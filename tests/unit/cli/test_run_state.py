"""What a run is doing, from the lines that a real run printed and the logs of its jobs."""

import time

import pytest
from llm_anatomy.cli.live import display, duration
from llm_anatomy.cli.run_state import Heartbeat, RunningJob, RunState, heartbeat, seconds_left
from rich.console import Console

# Printed by a run of the tiny configuration, shortened.
PRINTED = """\
Using workflow specific profile profiles/default for setting default command line arguments.
Assuming unrestricted shared filesystem usage.

SNAKEMAKE
=========
  Date: 2026-11-30 20:54:51
  Config MD5: 2bd0baf91ab8e224d14758b50aecf7ea

Building DAG of jobs...
Using shell: /usr/bin/bash
Provided cores: 1 (use --cores to define parallelism)
Rules claiming more threads will be scaled down.
Conda environments: ignored
Job stats:
job                    count
-------------------  -------
build_dataset              2
all                        1
total                      5

Select jobs to execute...
Execute 2 jobs...

[Mon Nov 30 20:55:37 2026]
Job 3: build_dataset: Read a data set of any kind; say what became of every row. dataset=remarks
Reason: Missing output files: results/data/remarks.parquet
[Mon Nov 30 20:55:37 2026]
Job 2: extract_activations: Run the model once. dataset=remarks,model=tiny,shard=1,shards=2
Reason: Missing output files: results/activations/tiny/remarks/1-of-2/traces.parquet
"""
FINISHED = """\
[Mon Nov 30 20:55:39 2026]
Finished jobid: 3 (Rule: build_dataset)
1 of 5 steps (20%) done
"""
FAILED = """\
Error in rule extract_activations, jobid: 2:
    message: extract_activations: Run the model once.
Error: remarks.csv: row 3 (line 4) has no text
"""


def read(state, text, clock=lambda: 0.0):
    return [shown for line in text.splitlines() if (shown := state.read(line, clock)) is not None]


def test_a_run_is_read_from_what_snakemake_prints():
    state = RunState()
    assert read(state, PRINTED) == [], "nothing of it need be read by a person"
    assert (state.done, state.total) == (0, 5)
    assert [job.label for job in state.running.values()] == [
        "build_dataset remarks",
        "extract_activations remarks tiny 1 2",
    ]
    assert read(state, FINISHED, lambda: 2.5) == []
    assert (state.done, state.total) == (1, 5)
    assert [(job.rule, took) for job, took in state.finished] == [("build_dataset", 2.5)]
    assert list(state.running) == ["2"]


def test_what_a_person_must_read_is_handed_on():
    state = RunState()
    read(state, PRINTED)
    assert read(state, FAILED) == FAILED.splitlines()
    assert state.failed == 1
    assert list(state.running) == ["3"]
    assert read(state, "WorkflowError: a thing\n")


def test_how_far_a_job_is_stands_in_its_log(tmp_path):
    folder = tmp_path / "extract_activations/tiny/remarks"
    folder.mkdir(parents=True)
    for shard, done in ((1, 8), (2, 16)):
        (folder / f"{shard}-of-2.log").write_text(
            "12:00:00 INFO extract: 0 of 48 texts\n"
            f"12:00:15 INFO extract: {done} of 48 texts, 0.53 texts/s, 0:01:15 left\n"
            "12:00:16 WARNING something else\n"
        )
    for shard, done in (("1", 8), ("2", 16)):
        wildcards = {"model": "tiny", "dataset": "remarks", "shard": shard, "shards": "2"}
        job = RunningJob("extract_activations", wildcards, 0.0)
        assert heartbeat(job, tmp_path) == Heartbeat(done, 48, "texts", "0:01:15")
    begun = tmp_path / "map_neurons.log"
    begun.write_text("12:00:00 INFO map_neurons: 0 of 9 matrices\n")
    assert heartbeat(RunningJob("map_neurons", {}, 0.0), tmp_path) == Heartbeat(
        0, 9, "matrices", None
    )
    assert heartbeat(RunningJob("report", {}, 0.0), tmp_path) is None


def test_the_time_left_is_the_plan_at_the_pace_that_it_has_held():
    """Planned at 10 s a job, two jobs took 20 s each: one that waits takes 20 s on one core."""
    state = RunState()
    jobs = [RunningJob("stage", {"model": name}, 0.0) for name in "abcd"]
    waiting = {job.label: 10.0 for job in jobs}
    assert seconds_left(state, waiting, lambda job: 10.0, 1) is None
    state.finished = [(jobs[0], 20.0), (jobs[1], 20.0)]
    assert seconds_left(state, waiting, lambda job: 10.0, 1) == pytest.approx(40.0)
    assert seconds_left(state, waiting, lambda job: 10.0, 2) == pytest.approx(20.0)
    state.running = {"3": RunningJob("stage", {"model": "c"}, time.monotonic() - 15)}
    left = seconds_left(state, waiting, lambda job: 10.0, 1)
    assert left == pytest.approx(20.0 + 5.0, abs=0.5)


def test_the_display_says_what_runs_and_how_far():
    state = RunState(total=40, done=7)
    state.running = {
        str(number): RunningJob("sweep_layers", {"task": f"task{number}"}, 0.0)
        for number in range(14)
    }
    console = Console(width=120, force_terminal=False, record=True)
    far = {"task0": Heartbeat(30, 120, "examples", "0:02:00")}
    console.print(display(state, lambda job: far.get(job.wildcards["task"]), 4000.0))
    text = console.export_text()
    assert "7 of 40 jobs done, about 67 min left" in text
    assert "sweep_layers task0" in text
    assert "30 of 120 examples, 0:02:00 left" in text
    assert "and 2 more" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (150, "2 min"), (3600 * 2.08, "2 h 05 min")],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert duration(seconds) == words
