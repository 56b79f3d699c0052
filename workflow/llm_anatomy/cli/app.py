"""The command line: `llm-anatomy COMMAND`. Every command reads, calls one function and prints."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from llm_anatomy.artefacts.remake import COMMAND_VARIABLE
from llm_anatomy.cli.options import ConfigFiles, Paper, Results, SnakemakeCommand
from llm_anatomy.config.shipped import OWN_NAME, chosen_files, shipped_profile
from llm_anatomy.errors import UserError

app = typer.Typer(
    name="llm-anatomy",
    help="Take a decoder language model apart in four ways; every intermediate is a table.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def init(
    data: Annotated[
        list[Path] | None, typer.Argument(help="CSV, TSV, JSON, JSONL or Parquet files.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Folder, GGUF file or hub id. [default: SmolLM2-135M-Instruct]"),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch of a hub model.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column with the texts.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Column with a label; again for a further one.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Column with a relation's subjects.")] = None,
    answer: Annotated[str | None, typer.Option(help="Column with their answers.")] = None,
    study: Annotated[
        list[str] | None, typer.Option(help="A study to run. [default: all that the data serve]")
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path(OWN_NAME),
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a commented configuration for your model and data.

    Looks at each file (columns, labels, rows), says what it guessed, and checks that a run would
    accept it.

    \b
    Examples:
      llm-anatomy init tweets.csv
      llm-anatomy init tweets.csv --text tweet --label offensive --model Qwen/Qwen2.5-0.5B
      llm-anatomy init rivers.csv --subject river --answer country --model /data/models/mine
    """
    from llm_anatomy.cli.initialise import initialise

    columns = {"text": text, "labels": label or [], "subject": subject, "answer": answer}
    for line in initialise(data or [], model, revision, columns, study or [], output, force):
        typer.echo(line)


@app.command(
    cls=SnakemakeCommand,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def run(
    context: typer.Context,
    configfile: ConfigFiles = None,
    paper: Paper = None,
    cores: Annotated[
        str | None, typer.Option("--cores", "-c", help="Jobs at once. [default: all cores]")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="slurm, s3, kubernetes, or a profile's folder.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would run, and why.")
    ] = False,
) -> None:
    """Run the workflow in this folder; the same command goes on where it stopped.

    Targets (a study, a rule, a file) and all other options are Snakemake's. Paths are relative to
    this folder, and results lie in results/. Ctrl-C ends the run; nothing half-written is left.

    \b
    Examples:
      llm-anatomy run
      llm-anatomy run toxicity --configfile mine.yaml --cores 4
      llm-anatomy run --forcerun spline_features
      llm-anatomy run --paper facts --profile slurm
      llm-anatomy run -n results/claims.parquet

    Exit status: 0 when all is made, 1 after a mistake or a failed job, 130 after Ctrl-C.
    """
    from llm_anatomy.cli import launch
    from llm_anatomy.config.read import read_configuration

    files = chosen_files(configfile or [], paper)
    configuration = read_configuration(files)
    targets = context.meta.get("targets", [])
    arguments = [*context.args]
    if profile is not None:
        arguments += ["--profile", str(shipped_profile(profile) or profile)]
    if cores is not None or profile is None:
        arguments += ["--cores", cores or str(os.cpu_count() or 1)]
    # Last but targets, because it would take whatever follows for further files.
    arguments += ["--configfile", *map(str, files), *(["--", *targets] if targets else [])]
    if dry_run:
        raise typer.Exit(launch.dry_run(["--dry-run", *arguments]))
    typer.echo(f"Configuration: {', '.join(map(str, files))}", err=True)
    at_once = int(cores) if cores and cores.isdigit() else os.cpu_count() or 1
    status = launch.run(arguments, configuration, at_once)
    report = Path("results/report.html")
    if status == 0 and report.is_file():
        typer.echo(f"The report: {report.resolve()}")
    raise typer.Exit(status)


@app.command()
def plan(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Rules or files; everything when left out.")
    ] = None,
    configfile: ConfigFiles = None,
    paper: Paper = None,
) -> None:
    """Say what every job of a run will need: memory, operations, output, time.

    Nothing is run and no weight is loaded.

    \b
    Examples:
      llm-anatomy plan
      llm-anatomy plan toxicity --configfile mine.yaml
      llm-anatomy plan --paper facts
    """
    from llm_anatomy.plan.listing import plan_of

    typer.echo(plan_of(chosen_files(configfile or [], paper), targets or []), nl=False)


@app.command()
def status(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Rules or files; everything when left out.")
    ] = None,
    configfile: ConfigFiles = None,
    paper: Paper = None,
) -> None:
    """Say what is done, what is stale, and why.

    \b
    Examples:
      llm-anatomy status
      llm-anatomy status patching --configfile mine.yaml
    """
    from llm_anatomy.cli.standing import status_text
    from llm_anatomy.config.read import read_configuration

    files = chosen_files(configfile or [], paper)
    read_configuration(files)
    typer.echo(f"Configuration: {', '.join(map(str, files))}")
    typer.echo(status_text([*(targets or []), "--configfile", *map(str, files)]))


@app.command()
def show(
    page: Annotated[str, typer.Argument(help="report or atlas.")] = "report",
    results: Results = Path("results"),
    open_it: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it, or only say where it lies.")
    ] = True,
) -> None:
    """Open the report or the atlas in a browser.

    \b
    Examples:
      llm-anatomy show
      llm-anatomy show atlas
    """
    import webbrowser

    from llm_anatomy.cli.show import page as page_of

    file = page_of(page, results)
    typer.echo(str(file))
    if open_it:
        webbrowser.open(file.as_uri())


@app.command()
def verify(
    results: Annotated[Path, typer.Argument(help="The folder of results.")] = Path("results"),
) -> None:
    """Check every result against results/manifest.json.

    Exit status: 0 when every file is the one that was written, else 1.
    """
    from llm_anatomy.artefacts.manifest import find_problems, result_files

    problems = list(find_problems(results))
    for problem in problems:
        typer.echo(f"Error: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{len(result_files(results))} files in {results} are intact.")


@app.command()
def score(
    detector: Annotated[Path, typer.Option(help="A detector.safetensors of a run.")],
    model: Annotated[
        Path | None,
        typer.Option(help="provenance.json of its model. [default: results/models/MODEL/]"),
    ] = None,
    texts: Annotated[str, typer.Option(help="File, or - for standard input.")] = "-",
    column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    id: Annotated[
        str | None, typer.Option(help="Column that is copied, to know rows again.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of the texts' file.")] = "utf-8",
    delimiter: Annotated[
        str | None, typer.Option(help="What separates its columns. [default: by its suffix]")
    ] = None,
    output: Annotated[str, typer.Option(help="File, or - for standard output.")] = "-",
    false_positive_rate: Annotated[
        float | None,
        typer.Option(
            help="Also say which scores are above the threshold for this rate, set on held-out "
            "folds, and the calibrated probability."
        ),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Score standard input line by line, as lines come.")
    ] = False,
    running: Annotated[
        bool,
        typer.Option("--running", help="Score every beginning of a text: one row per token."),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            help="Most padded tokens in one pass; 1 scores one text at a time. [default: 2048, on "
            "a card by its free memory]"
        ),
    ] = None,
) -> None:
    """Score new texts with a saved detector.

    Texts come from a CSV, TSV, JSON, JSONL or Parquet file, or one per line from any other file or
    standard input. A text unlike all that the detector was trained on has no score, and a reason.

    \b
    Examples:
      llm-anatomy score --detector results/toxicity/MODEL/DATASET/detector.safetensors \\
          --texts comments.csv --column comment --output scores.csv
      echo "You are a fool." | llm-anatomy score --detector detector.safetensors
    """
    import logging

    from llm_anatomy.cli.score import ScoreOptions
    from llm_anatomy.cli.score import score as score_texts

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    score_texts(
        ScoreOptions(
            detector=detector,
            model=model,
            texts=texts,
            column=column,
            id=id,
            encoding=encoding,
            delimiter=delimiter,
            output=output,
            false_positive_rate=false_positive_rate,
            stream=stream,
            running=running,
            device=device,
            threads=threads,
            batch_tokens=batch_tokens,
        )
    )


@app.command()
def export(
    model: Annotated[str, typer.Option(help="Name of a model in results/.")],
    to: Annotated[Path, typer.Option(help="Folder to write into.")],
    form: Annotated[
        Literal["neuronpedia", "saedashboard"], typer.Option(help="Which viewer's form.")
    ] = "neuronpedia",
    layer: Annotated[
        list[int] | None, typer.Option(help="A layer; again for a further one. [default: all]")
    ] = None,
) -> None:
    """Write neurons with their contexts for other viewers.

    \b
    Examples:
      llm-anatomy export --model MODEL --layer 0 --layer 5 --to export
      llm-anatomy export --model MODEL --form saedashboard --to export
    """
    import logging

    from llm_anatomy.cli.export import export as export_neurons

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    export_neurons(model, form, layer, to)


@app.command()
def explain(
    table: Annotated[
        str | None, typer.Argument(help="A table's name, its last part, or a Parquet file.")
    ] = None,
) -> None:
    """Say what the columns of a table mean; without a table, list all.

    \b
    Examples:
      llm-anatomy explain
      llm-anatomy explain facts/layer_importance
      llm-anatomy explain results/claims.parquet
    """
    from llm_anatomy.cli.explain import explain_table, list_tables

    typer.echo(list_tables() if table is None else explain_table(table))


@app.command()
def doctor(configfile: ConfigFiles = None, paper: Paper = None) -> None:
    """Say what works here: packages, memory, card, disk, hub cache, configuration.

    Exit status: 1 where something keeps runs from working, else 0.
    """
    from llm_anatomy.cli.doctor import examine

    marks = {"ok": "  ok   ", "note": "  note ", "fault": "  FAULT"}
    verdicts = []
    for finding in examine(chosen_files(configfile or [], paper)):
        typer.echo(f"{marks[finding.verdict]}  {finding.what}: {finding.found}")
        verdicts.append(finding.verdict)
    if "fault" in verdicts:
        raise typer.Exit(1)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("llm-anatomy"))
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Take a decoder language model apart in four ways; every intermediate is a table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave the process; a user's mistake is one sentence and exit status 1."""
    try:
        app(args=None if arguments is None else list(arguments))
    except UserError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)


def entry() -> None:
    """The program `llm-anatomy`: remedies in error messages then name it, in every job too."""
    os.environ.setdefault(COMMAND_VARIABLE, "llm-anatomy run")
    main()


if __name__ == "__main__":
    entry()
