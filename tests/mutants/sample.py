"""The mutants of the modules that decide what users read, in a seeded order."""

import ast
import random
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_item import MutationSpec

# The studies' science with their claims, what is drawn and concluded, and what is stored.
PACKAGES = (
    "geometry", "toxicity", "neurons", "patching", "facts", "figures", "statistics", "tables",
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


def modules() -> list[Path]:
    """The modules to mutate, relative to the tree."""
    package = Path("workflow/llm_anatomy")
    return [path for name in PACKAGES for path in sorted((package / name).rglob("*.py"))]


def in_order(paths: list[Path], seed: int) -> list[MutationSpec]:
    """Every mutant of some modules, shuffled: the first 40 are part of the first 300."""
    found = [mutation for path in paths for mutation in mutants_of(path)]
    random.Random(seed).shuffle(found)
    return found


def mutants_of(path: Path) -> Iterator[MutationSpec]:
    """Every mutant of a module but those of annotations, which only checks of types run."""
    source = path.read_text()
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
