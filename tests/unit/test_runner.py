"""How a stage runs, and what it prints when it fails."""

import errno
import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from llm_anatomy import runner
from llm_anatomy.config.base import Settings
from llm_anatomy.errors import UserError
from llm_anatomy.runner import run_stage
from llm_anatomy.tables import core
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS


class Nothing(Settings):
    """A stage that reads no setting."""


def message_of(error: Exception, caplog: pytest.LogCaptureFixture) -> str:
    def run(settings: Nothing) -> None:
        raise error

    run.__annotations__ = {"settings": Nothing, "return": None}
    with pytest.raises(SystemExit) as ended:
        run_stage(run, ["--settings", "{}"])
    assert ended.value.code == 1
    return caplog.text


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.parquet"), "disk is full while a.par"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "the disk is full while a result is written"),
        (RuntimeError("I/O error: No space left on device"), "free some space and run the same"),
        (OSError(errno.EROFS, "Read-only", "results/x"), "results/x may not be read or written"),
        (PermissionError(errno.EACCES, "Permission denied", "tiny.csv"), "tiny.csv may not be"),
    ],
)
def test_a_disk_that_refuses_is_one_sentence(
    error: Exception, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = message_of(error, caplog)
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "the card of"),
        (RuntimeError("CUDA error: out of memory"), "set compute.batch_tokens lower (it is 77)"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "the card of"),
        (MemoryError(), "too little memory (MemoryError); set compute.batch_tokens lower"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] data. DefaultCPUAllocator: can't "
                "allocate memory: you tried to allocate 80 bytes. Error code 12"
            ),
            "this machine, or",
        ),
        (RuntimeError("std::bad_alloc"), "--set-resources"),
        (pa.ArrowMemoryError("malloc of size 99 failed"), "this machine, or the part of it"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "give the job more"),
        (RuntimeError("can't start new thread"), "start no more threads"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "compute.threads"),
        (pa.ArrowException("Resource temporarily unavailable"), "ulimit -u"),
    ],
)
def test_a_machine_that_is_too_small_is_one_sentence_with_the_keys_to_change(
    error: Exception,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLM_ANATOMY_COMPUTE", '{"batch_tokens": 77, "threads": 3}')
    said = message_of(error, caplog)
    assert sentence in said
    assert "Traceback" not in said
    assert "fault of LLM Anatomy" not in said


def test_a_file_that_could_not_be_read_for_want_of_threads_is_not_called_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "texts.parquet"
    write_table(path, TEXTS, TEXTS.frame([]), {})
    assert len(read_table(path, TEXTS)) == 0

    def too_few_threads(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(core.pq, "ParquetFile", too_few_threads)
    with pytest.raises(OSError, match="temporarily unavailable"):
        read_table(path, TEXTS)
    try:
        raise UserError(f"{path} is no readable file") from MemoryError()
    except UserError as error:
        said = message_of(error, caplog)
    assert "too little memory" in said


def test_a_fault_of_the_code_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    said = message_of(ZeroDivisionError("no"), caplog)
    assert "Traceback" in said
    assert "please report it" in said


def test_garbage_is_collected_while_a_stage_runs() -> None:
    seen: list[bool] = []

    def run(settings: Nothing) -> None:
        seen.append(gc.isenabled())

    run.__annotations__ = {"settings": Nothing, "return": None}
    # As `python -m` leaves it once everything is imported; see stages/__init__.py.
    gc.disable()
    run_stage(run, ["--settings", "{}"])
    assert seen == [True]
    gc.unfreeze()


def test_ctrl_c_while_a_stage_imports_is_one_sentence():
    """torch takes seconds to import; a file in its place says that it has begun, and waits."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "torch.py").write_text(
            "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
        )
        package = str(Path(runner.__file__).parents[1])
        stage = subprocess.Popen(
            [sys.executable, "-m", "llm_anatomy.stages.extract_activations", "--settings", "{}"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([folder, package])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert stage.stdout is not None
        assert stage.stdout.readline() == "importing\n"
        stage.send_signal(signal.SIGINT)
        _, said = stage.communicate(timeout=30)
    assert stage.returncode == 130
    assert said == "Interrupted before any work; the same command goes on.\n"
