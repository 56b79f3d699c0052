"""The command line that every stage shares: `python -m llm_anatomy.stages.NAME …`.

A stage is a function `run(settings, *, name: Path, …)`. Its keyword-only path parameters become
required options (`--name PATH`, or several paths for `tuple[Path, ...]`), its settings arrive as
one JSON document, and its messages go to the terminal and, with heartbeats, to the log file.
"""

import argparse
import errno
import gc
import inspect
import json
import logging
import os
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llm_anatomy.artefacts.shortage import shortage_sentence
from llm_anatomy.config.base import Compute, Settings
from llm_anatomy.errors import UserError

logger = logging.getLogger(__name__)

COMPUTE_VARIABLE = "LLM_ANATOMY_COMPUTE"
# The safetensors library's own errors carry no number.
NO_SPACE = "No space left on device"


def compute_settings() -> Compute:
    """Device, threads and batch budget, from the environment that the workflow sets."""
    return Compute.model_validate_json(os.environ.get(COMPUTE_VARIABLE, "{}"))


def run_stage(run: Callable[..., None], arguments: Sequence[str] | None = None) -> None:
    """Parse the command line for a stage, run it, and leave the process with its exit status.

    A `UserError` is printed as its sentence alone; any other exception keeps its traceback.
    """
    _collect_from_here()
    settings_type, path_types = _signature(run)
    parser = argparse.ArgumentParser(description=inspect.getdoc(run))
    parser.add_argument("--settings", required=True, help="settings of the stage, as JSON")
    parser.add_argument("--log", type=Path, help="file for messages and heartbeats")
    for name, kind in path_types.items():
        many = kind is not Path
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            required=True,
            type=Path,
            nargs="*" if many else None,
        )
    options = vars(parser.parse_args(arguments))
    _set_up_logging(options.pop("log"))
    paths = {
        k: tuple(options[k]) if isinstance(options[k], list) else options[k] for k in path_types
    }
    stage = Path(sys.argv[0]).stem
    try:
        run(_parse_settings(settings_type, options["settings"]), **paths)
        logger.info("done%s", _peak_memory())
    except UserError as error:
        logger.error("Error: %s", shortage_sentence(error, compute_settings(), stage) or error)
        sys.exit(1)
    except KeyboardInterrupt:
        logger.error("Interrupted; nothing half-written is left, the same command goes on.")
        sys.exit(130)
    except Exception as error:
        shortage = shortage_sentence(error, compute_settings(), stage)
        if sentence := shortage or _about_the_disk(error):
            logger.error("Error: %s", sentence)
            sys.exit(1)
        logger.exception("This is a fault of LLM Anatomy, not of your input; please report it.")
        sys.exit(1)


def _collect_from_here() -> None:
    """Switch garbage collection on again; see `stages/__init__.py`. What is imported stays.

    From here on Ctrl-C is Python's exception again, which `run_stage` turns into a sentence.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _peak_memory() -> str:
    """The most memory that this process has held, where the system says so.

    `getrusage` would begin with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return "" if peak is None else f", with at most {int(peak) * 1024 / 1e6:.0f} MB of memory"


def _about_the_disk(error: Exception) -> str:
    """What is wrong with the disk, where that is what an error says; else nothing."""
    number = error.errno if isinstance(error, OSError) else None
    place = (error.filename if isinstance(error, OSError) else None) or "a result"
    if number in (errno.ENOSPC, errno.EDQUOT) or NO_SPACE in str(error):
        return (
            f"the disk is full while {place} is written; free some space and run the same command "
            "again: finished results are kept"
        )
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"{place} may not be read or written ({os.strerror(number)}); change its permissions, "
            "or copy the folder to where you may write and run there"
        )
    return ""


def _signature(run: Callable[..., None]) -> tuple[type[Settings], dict[str, Any]]:
    hints = typing.get_type_hints(run)
    names = list(inspect.signature(run).parameters)
    settings_type: type[Settings] = hints[names[0]]
    return settings_type, {name: hints[name] for name in names[1:]}


def _parse_settings(settings_type: type[Settings], text: str) -> Settings:
    try:
        return settings_type.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        value = json.dumps(first.get("input"), default=str)
        raise UserError(f"--settings: the key '{key}' is {value}: {first['msg']}") from error


def _set_up_logging(log: Path | None) -> None:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    handlers: list[logging.Handler] = []
    terminal = logging.StreamHandler()
    # On a terminal the bar shows progress; heartbeats would tear it.
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    handlers.append(terminal)
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log, mode="w", encoding="utf-8"))
    else:
        terminal.setLevel(logging.INFO)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
    )
    logging.captureWarnings(True)
