"""What the database says of its tables, held against what the library's are.

By columns, never by names of constraints: a service's migrations may call them as they like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from campaign_model.db.checks import checks as expected_checks

__all__ = ["checks", "columns", "foreign_keys", "indexes", "unique_keys"]

_WORDS = re.compile(r"'(\w+)'")

_AS_GOOD = {"TEXT": {"VARCHAR"}}


def columns(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """What is wrong with the columns of a table: missing, another type, NULL, no default."""
    dialect = inspector.dialect
    found = {column["name"]: column for column in inspector.get_columns(table.name)}
    for column in table.c:
        name = f"{table.name}.{column.name}"
        if column.name not in found:
            yield f"{name} is missing"
            continue
        present = found[column.name]
        wanted = column.type.compile(dialect=dialect)
        good = {wanted} | _AS_GOOD.get(wanted, set())
        type_ = present["type"].compile(dialect=dialect)
        if type_ not in good:
            yield f"{name} is {type_}, and has to be {wanted}"
        if present["nullable"] and not column.nullable:
            yield f"{name} has to be NOT NULL"
        if column.nullable and not present["nullable"]:
            yield f"{name} has to allow NULL"
        if column.server_default is not None and present["default"] is None:
            yield f"{name} has to have a default"


def unique_keys(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """The primary and unique keys that a table lacks."""
    primary = set(inspector.get_pk_constraint(table.name)["constrained_columns"])
    # Where a database is sharded, the tenant is in every primary key.
    if primary | {"tenant_id"} != {*table.primary_key.columns.keys(), "tenant_id"}:
        yield f"{table.name} lacks PRIMARY KEY ({', '.join(table.primary_key.columns.keys())})"
    present: list[set[Any]] = [
        {*key["column_names"]} for key in inspector.get_unique_constraints(table.name)
    ]
    present += [
        {*index["column_names"]}
        for index in inspector.get_indexes(table.name)
        if index["unique"] and _predicate(index) is None
    ]
    for key in table.constraints:
        if isinstance(key, sa.UniqueConstraint) and set(key.columns.keys()) not in present:
            yield f"{table.name} lacks UNIQUE ({', '.join(key.columns.keys())})"


def foreign_keys(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """The foreign keys that a table lacks, and those that would delete behind our back."""
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
        spelt = f"({', '.join(key.column_keys)}) REFERENCES {referred} ({', '.join(names)})"
        wanted = (frozenset(zip(key.column_keys, names, strict=True)), referred)
        if wanted not in present:
            yield f"{table.name} lacks FOREIGN KEY {spelt}"
        elif present[wanted] not in {"NO ACTION", "RESTRICT"}:
            yield f"{table.name}: FOREIGN KEY {spelt} must not be ON DELETE {present[wanted]}"


def indexes(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """The indexes that a table lacks; of partial ones the words in the condition count."""
    dialect = inspector.dialect
    present = [
        (index["column_names"], _words(_predicate(index)))
        for index in inspector.get_indexes(table.name)
    ]
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        condition = index.dialect_options[dialect.name]["where"]
        text = None if condition is None else str(condition.compile(dialect=dialect))
        if (index.columns.keys(), _words(text)) not in present:
            where = "" if text is None else f" WHERE {text.replace(f'{table.name}.', '')}"
            yield f"{table.name} lacks INDEX ({', '.join(index.columns.keys())}){where}"


def checks(inspector: sa.Inspector, table: sa.Table) -> Iterator[str]:
    """The columns that no CHECK speaks of and that one should; what it says is not looked at."""
    present = "\n".join(check["sqltext"] for check in inspector.get_check_constraints(table.name))
    for column in expected_checks(inspector.dialect.name)[table.name]:
        if not re.search(rf"\b{column}\b", present):
            yield f"{table.name}.{column} has no CHECK"


def _predicate(index: Any) -> str | None:
    options = index.get("dialect_options", {})
    where = options.get("postgresql_where", options.get("sqlite_where"))
    return None if where is None else str(where)


def _words(condition: str | None) -> frozenset[str] | None:
    return None if condition is None else frozenset(_WORDS.findall(condition))
