"""What several commands ask for on the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from llm_anatomy.config.shipped import OWN_NAME

CONFIGURATION_SUFFIXES = (".yaml", ".yml", ".json")
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--configfile",
        help=f"Configuration; again for a further one. [default: {OWN_NAME} or config/config.yaml "
        "of this folder, else the one that ships]",
    ),
]
Paper = Annotated[
    str | None, typer.Option(help="A paper's own run: geometry, neurons, attend_first, facts.")
]
Results = Annotated[Path, typer.Option(help="The folder of results.")]


class SnakemakeCommand(TyperCommand):
    """A command that hands on what it does not know, and reads the rest as Snakemake does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep targets behind `--` apart, and take several files behind one `--configfile`."""
        if "--" in args:
            ctx.meta["targets"] = args[args.index("--") + 1 :]
            args = args[: args.index("--")]
        known: list[str] = []
        for argument in args:
            further = known[-2:-1] == ["--configfile"] and argument.endswith(CONFIGURATION_SUFFIXES)
            known += ["--configfile", argument] if further else [argument]
        return super().parse_args(ctx, known)
