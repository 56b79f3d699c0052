"""The modules of the package, one sentence each, for docs/architecture.md."""

import ast
from pathlib import Path

import llm_anatomy

# Every folder that holds modules, in the order in which a reader needs them.
FOLDERS = {
    "": "What every part uses: the one exception, progress, and the command line of a stage.",
    "rulebook": "What the Snakefile asks; no stage imports it.",
    "config": "The configuration: validated classes, and every check of one part against another.",
    "plan": "Memory, time and card of a job, from the model's sizes and the configuration alone.",
    "artefacts": "Results as files: how they appear, what they are called, whether they are whole.",
    "tables": "Results as tables: every schema, checked writing and reading, whose each table is.",
    "statistics": "Numbers that are random or uncertain: keyed draws, samples, intervals.",
    "data": "From files, wheels and hubs to the tables of texts, relations, questions and prompts.",
    "data.builtin": "The data that come with the project.",
    "model.source": "Where weights come from, and the record of what they are.",
    "model.parts": "What a decoder consists of; the only place that knows families of models.",
    "model.run": "Running a decoder: loading, proof, batches, hooks, the head, generation.",
    "geometry": "Spline features and attention intrinsic dimension.",
    "toxicity": "Detection and classification on tables of features.",
    "neurons": "Neurons in words: decoded, searched, compared, clamped, validated, edited.",
    "patching": "Previous tokens manipulated at layer k, swept over the layers.",
    "facts": "Layers, heads and neurons that bring factual answers about, and what activates them.",
    "attribution": "Any unit's part in an answer: gradient scores, exact effects, faithfulness.",
    "figures": "Tables in, figures and captions out; one module per study.",
    "atlas": "Pages to explore a run with: tables in, chunks of data out; scripts in `site/`.",
    "report": "Figures, tables and claims as one page.",
    "stages": "One module per rule: it reads, makes one call and writes.",
    "notebook": "A run's results, and a model without a run, in a notebook.",
    "cli": "Commands for people, and the generated pages.",
}


def modules_section() -> str:
    """Every folder and module of the package with its sentence, as Markdown."""
    lines = []
    for folder, sentence in FOLDERS.items():
        lines += ["", f"### `{folder.replace('.', '/') or 'llm_anatomy'}/`", "", sentence, ""]
        lines += ["| module | what it holds |", "|---|---|"]
        lines += [
            f"| `{file.name}` | {first_sentence(file).replace('|', chr(92) + '|')} |"
            for file in sorted(_folder(folder).glob("*.py"))
            if file.name != "__init__.py"
        ]
    return "\n".join(lines) + "\n"


def folders_with_modules() -> set[str]:
    """Dotted names of the package's folders that hold modules."""
    root = _folder("")
    files = (file for file in root.rglob("*.py") if file.name != "__init__.py")
    return {".".join(file.parent.relative_to(root).parts) for file in files}


def first_sentence(file: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _folder(name: str) -> Path:
    root = Path(next(iter(llm_anatomy.__path__)))
    return root.joinpath(*name.split(".")) if name else root
