"""What ships beside the package: rules, configurations and profiles.

In a checkout they stand two folders above the package, in an installed wheel inside it.
"""

from pathlib import Path

from llm_anatomy.errors import UserError

# What `llm-anatomy init` writes, and every command reads where no file is named.
OWN_NAME = "llm-anatomy.yaml"


def pipeline_folder() -> Path:
    """The folder of the Snakefile, laid out as the repository is."""
    package = Path(__file__).parents[1]
    inside = package / "pipeline"
    return inside if inside.is_dir() else package.parents[1]


def snakefile() -> Path:
    """The workflow's entry.

    Raises:
        UserError: The package was taken out of its checkout, and carries no rules.
    """
    file = pipeline_folder() / "Snakefile"
    if not file.is_file():
        raise UserError(f"there is no {file}; install the package again: pip install llm-anatomy")
    return file


def paper_configurations() -> dict[str, Path]:
    """The papers' own runs by the name of their study."""
    files = sorted((pipeline_folder() / "config/papers").glob("*.yaml"))
    return {file.stem: file for file in files}


def paper_configuration(name: str) -> Path:
    """One paper's own run.

    Raises:
        UserError: There is none of this name.
    """
    known = paper_configurations()
    if name not in known:
        raise UserError(f"--paper is {name!r}; the papers are {', '.join(known)}")
    return known[name]


def shipped_profile(name: str) -> Path | None:
    """A shipped profile by its name, such as `slurm`; nothing for any other name or path."""
    folder = pipeline_folder() / "profiles" / name
    return folder if folder.name == name and (folder / "profile.yaml").is_file() else None


def chosen_files(named: list[Path], paper: str | None = None) -> list[Path]:
    """The configuration that a command reads.

    Args:
        named: Files that the user named.
        paper: Or a paper.

    Returns:
        Those, or `llm-anatomy.yaml` or `config/config.yaml` of this folder, or the shipped default.

    Raises:
        UserError: Both are given, or there is no such paper.
    """
    if paper is not None:
        if named:
            raise UserError("give --paper or --configfile, and not both")
        return [paper_configuration(paper)]
    own = [file for file in (Path(OWN_NAME), Path("config/config.yaml")) if file.is_file()]
    return named or own[:1] or [pipeline_folder() / "config/config.yaml"]
