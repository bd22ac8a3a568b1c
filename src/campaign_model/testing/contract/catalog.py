"""Compare the tables in the database with the library's tables.

The functions compare keys, indexes and CHECKs by their columns and never by name, because a
service's migrations may give constraints other names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from campaign_model.db.checks import checks as expected_checks

_STRING_LITERAL = re.compile(r"'(\w+)'")

_EQUIVALENT_TYPES = {"TEXT": {"VARCHAR"}}


def column_faults(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """Name the columns that are missing, or differ in type, in NOT NULL or in having a default."""
    dialect = inspector.dialect
    present_columns = {column["name"]: column for column in inspector.get_columns(table.name)}
    for column in table.c:
        name = f"{table.name}.{column.name}"
        if column.name not in present_columns:
            yield f"{name} is missing"
            continue
        present = present_columns[column.name]
        expected_type = column.type.compile(dialect=dialect)
        allowed_types = {expected_type} | _EQUIVALENT_TYPES.get(expected_type, set())
        present_type = present["type"].compile(dialect=dialect)
        if present_type not in allowed_types:
            yield f"{name} is {present_type}, but must be {expected_type}"
        if present["nullable"] and not column.nullable:
            yield f"{name} must be NOT NULL"
        if column.nullable and not present["nullable"]:
            yield f"{name} must allow NULL"
        if column.server_default is not None and present["default"] is None:
            yield f"{name} must have a default"


def missing_unique_keys(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """Name the primary and unique keys that a table lacks."""
    primary = set(inspector.get_pk_constraint(table.name)["constrained_columns"])
    # A sharded database needs the tenant in every primary key, so it may be in the key here too.
    if primary | {"tenant_id"} != {*table.primary_key.columns.keys(), "tenant_id"}:
        yield f"{table.name} lacks PRIMARY KEY ({', '.join(table.primary_key.columns.keys())})"
    present: list[set[Any]] = [
        primary,
        *({*key["column_names"]} for key in inspector.get_unique_constraints(table.name)),
    ]
    present += [
        {*index["column_names"]}
        for index in inspector.get_indexes(table.name)
        if index["unique"] and _predicate(index) is None
    ]
    for key in table.constraints:
        if isinstance(key, sa.UniqueConstraint) and set(key.columns.keys()) not in present:
            yield f"{table.name} lacks UNIQUE ({', '.join(key.columns.keys())})"


def foreign_key_faults(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """Name the foreign keys that a table lacks, and those with an ON DELETE that changes rows."""
    present = {
        (
            frozenset(zip(key["constrained_columns"], key["referred_columns"], strict=True)),
            key["referred_table"],
        ): key["options"].get("ondelete", "NO ACTION")
        for key in inspector.get_foreign_keys(table.name)
    }
    for key in table.foreign_key_constraints:
        names = [element.column.name for element in key.elements]
        referred = key.referred_table.name
        key_sql = f"({', '.join(key.column_keys)}) REFERENCES {referred} ({', '.join(names)})"
        expected = (frozenset(zip(key.column_keys, names, strict=True)), referred)
        if expected not in present:
            yield f"{table.name} lacks FOREIGN KEY {key_sql}"
        elif present[expected] not in {"NO ACTION", "RESTRICT"}:
            yield f"{table.name}: FOREIGN KEY {key_sql} must not be ON DELETE {present[expected]}"


def missing_indexes(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """Name the indexes that a table lacks.

    The WHERE conditions of two indexes count as equal if they contain the same string literals.
    """
    dialect = inspector.dialect
    present = [
        (index["column_names"], _literals(_predicate(index)))
        for index in inspector.get_indexes(table.name)
    ]
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        condition = index.dialect_options[dialect.name]["where"]
        text = None if condition is None else str(condition.compile(dialect=dialect))
        if (index.columns.keys(), _literals(text)) not in present:
            where = "" if text is None else f" WHERE {text.replace(f'{table.name}.', '')}"
            yield f"{table.name} lacks INDEX ({', '.join(index.columns.keys())}){where}"


def missing_checks(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """Name the columns that should be in a CHECK and are in none. The conditions are not read."""
    present = "\n".join(check["sqltext"] for check in inspector.get_check_constraints(table.name))
    expected = "\n".join(expected_checks(inspector.dialect.name)[table.name].values())
    for column in (one.name for one in table.c):
        word = re.compile(rf"\b{column}\b")
        if word.search(expected) and not word.search(present):
            yield f"{table.name}.{column} has no CHECK"


def _predicate(index: Any) -> str | None:
    """Return the WHERE condition of an index in the database, or ``None`` for a full index."""
    options = index.get("dialect_options", {})
    where = options.get("postgresql_where", options.get("sqlite_where"))
    return None if where is None else str(where)


def _literals(condition: str | None) -> frozenset[str] | None:
    """Return the string literals of a condition. Databases rewrite everything else in it."""
    return None if condition is None else frozenset(_STRING_LITERAL.findall(condition))
