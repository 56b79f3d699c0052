"""A copy of the project in a folder of its own, run through the real command line."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "rules", "workflow", "config", "envs", "profiles")


@dataclass(frozen=True)
class Project:
    """The copy; its own package is the one that stages import."""

    folder: Path
    configuration: str = "tiny.yaml"

    @classmethod
    def copy(cls, folder: Path) -> "Project":
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source, target = ROOT / part, folder / part
            if source.is_dir():
                hidden = shutil.ignore_patterns("__pycache__", "*.egg-info", ".snakemake")
                shutil.copytree(source, target, ignore=hidden)
            else:
                shutil.copy(source, target)
        return cls(folder)

    @property
    def package(self) -> Path:
        return self.folder / "workflow/llm_anatomy"

    def command(self, *arguments: str) -> list[str]:
        chosen = [] if "--configfile" in arguments else ["--configfile", self.configuration]
        program = [sys.executable, "-m", "snakemake", "--cores", "2", "--nocolor"]
        # Snakemake ends only when this time span has passed, and here most runs are short.
        program += ["--max-jobs-per-timespan", "100/1s"]
        # Last, because --configfile would take targets after it for further files.
        return [*program, *arguments, *chosen]

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(self.folder / "workflow"),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, whatever the exit status."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """Run, and show what Snakemake said where that fails."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        return done.stdout + done.stderr

    def planned(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule a run would start."""
        said = self.run("--dry-run", *arguments)
        table = said.rpartition("Job stats:")[2].partition("\ntotal")[0]
        return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}

    def results(self) -> dict[str, bytes]:
        """Every result by its path; what is compared between runs.

        Hidden files are notes about this copy of the files on this disk (times, inodes).
        """
        folder = self.folder / "results"
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "README.md" and not path.name.startswith(".")
        }
