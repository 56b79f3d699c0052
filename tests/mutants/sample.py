"""The mutants of the modules that decide what users read, in a seeded order."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_item import MutationSpec

# The studies' science with their claims, what is drawn and concluded, and what is stored.
PACKAGES = (
    "geometry", "toxicity", "neurons", "patching", "facts", "attribution", "figures",
    "statistics", "tables",
)  # fmt: skip
# One or two near misses for each construct: cosmic-ray has 213, most of which any test notices.
COMPARED = (
    ("Lt", "LtE"), ("LtE", "Lt"), ("Gt", "GtE"), ("GtE", "Gt"), ("Lt", "Gt"), ("Gt", "Lt"),
    ("LtE", "GtE"), ("GtE", "LtE"), ("Eq", "NotEq"), ("NotEq", "Eq"), ("Is", "IsNot"),
    ("IsNot", "Is"),
)  # fmt: skip
COMPUTED = (
    ("Add", "Sub"), ("Sub", "Add"), ("Mul", "Div"), ("Div", "Mul"), ("FloorDiv", "Mod"),
    ("Mod", "FloorDiv"), ("Pow", "Mul"), ("BitAnd", "BitOr"), ("BitOr", "BitAnd"),
)  # fmt: skip
OPERATORS = (
    *(f"core/ReplaceComparisonOperator_{old}_{new}" for old, new in COMPARED),
    *(f"core/ReplaceBinaryOperator_{old}_{new}" for old, new in COMPUTED),
    "core/ReplaceUnaryOperator_USub_UAdd",
    "core/ReplaceUnaryOperator_Delete_Not",
    "core/ReplaceUnaryOperator_Delete_Invert",
    "core/AddNot",
    "core/ReplaceTrueWithFalse",
    "core/ReplaceFalseWithTrue",
    "core/ReplaceAndWithOr",
    "core/ReplaceOrWithAnd",
    "core/ReplaceBreakWithContinue",
    "core/ReplaceContinueWithBreak",
    "core/NumberReplacer",
    "core/ZeroIterationForLoop",
)
Span = tuple[tuple[int, int], tuple[int, int]]


def modules(tree: Path) -> list[Path]:
    """The modules to mutate, relative to a copy of the project."""
    package = tree / "workflow/llm_anatomy"
    found = [path for name in PACKAGES for path in sorted((package / name).rglob("*.py"))]
    return [path.relative_to(tree) for path in found]


def in_order(tree: Path, seed: int) -> list[MutationSpec]:
    """Every mutant of a copy of the project, shuffled: the first 40 are part of the first 300.

    A mutant's place depends on itself and the seed alone, so that an edit of one module leaves
    those of the others in the sample.
    """

    def place(mutation: MutationSpec) -> str:
        return hashlib.sha256(f"{seed}:{key(mutation)}".encode()).hexdigest()

    found = (mutation for path in modules(tree) for mutation in mutants_of(tree, path))
    return sorted(found, key=place)


def key(mutation: MutationSpec) -> str:
    """What a mutant is called among all."""
    return f"{mutation.module_path}:{mutation.operator_name}:{mutation.occurrence}"


def mutants_of(tree: Path, path: Path) -> Iterator[MutationSpec]:
    """Every mutant of a module but those of annotations, which only checks of types run."""
    source = (tree / path).read_text()
    spans = list(_annotations(ast.parse(source)))
    nodes = list(ast_nodes(get_ast(source)))
    for name in OPERATORS:
        operator = get_operator(name)()
        places = ((node, *place) for node in nodes for place in operator.mutation_positions(node))
        for occurrence, (node, start, end) in enumerate(places):
            if not any(first <= start < last for first, last in spans):
                yield MutationSpec(
                    module_path=path,
                    operator_name=name,
                    operator_args={},
                    occurrence=occurrence,
                    start_pos=start,
                    end_pos=end,
                    definition_name=ASTQuery(node).get_definition_name(),
                )


def _annotations(tree: ast.Module) -> Iterator[Span]:
    """First and last line and column of all annotations and type aliases."""
    for node in ast.walk(tree):
        nodes = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            nodes.append(node.value)
        for each in nodes:
            if isinstance(each, ast.expr):
                end = (each.end_lineno or each.lineno, each.end_col_offset or 0)
                yield (each.lineno, each.col_offset), end
