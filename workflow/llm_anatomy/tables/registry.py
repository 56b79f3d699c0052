"""Every table that the workflow writes, by name.

A stage that imports this module runs again when any table's declaration changes; most know which
tables they read, and import those.
"""

from llm_anatomy.tables import (
    anatomy,
    attribution,
    claims,
    contexts,
    data,
    directions,
    fact_case,
    facts,
    geometry,
    grids,
    neurons,
    patching,
    toxicity,
)
from llm_anatomy.tables.core import TableSchema

_MODULES = (
    anatomy,
    attribution,
    claims,
    contexts,
    data,
    directions,
    fact_case,
    facts,
    geometry,
    grids,
    neurons,
    patching,
    toxicity,
)

ALL_TABLES: dict[str, TableSchema] = {
    schema.name: schema
    for schema in sorted(
        (schema for module in _MODULES for schema in module.TABLES), key=lambda schema: schema.path
    )
}
