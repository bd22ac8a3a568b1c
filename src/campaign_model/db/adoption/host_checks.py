"""CHECKs of the host on columns that the library writes.

A CHECK on ``status`` alone is evaluated for each status of the library. If it refuses one, the
database cannot be adopted. Every other CHECK is a warning: whether it refuses a row depends
on all values of the row, which the inspection does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from campaign_model.db.adoption.catalog import CHECK, Catalog, Constraint
from campaign_model.db.schema import quote_text
from campaign_model.lifecycle import ContactStatus, Status

_STATUSES: Mapping[str, type[Status | ContactStatus]] = {
    "campaigns": Status,
    "campaign_contacts": ContactStatus,
}


def find_refused_statuses(connection: sa.Connection, tables: Catalog) -> Iterator[str]:
    """Yield a sentence for each CHECK that refuses a status of the library."""
    for table, statuses in _STATUSES.items():
        constraints = tables[table].constraints if table in tables else {}
        for name, constraint in constraints.items():
            refused = _evaluate(connection, constraint, [*map(str, statuses)])
            if refused:
                yield (
                    f"the constraint {name} on {table} refuses statuses of this library "
                    f"({', '.join(refused)}): drop it, or let it accept them"
                )


def warn_of_checks(tables: Catalog, expected: Catalog) -> Iterator[str]:
    """Yield a sentence for each CHECK that the library cannot evaluate."""
    for table in sorted(expected.keys() & tables.keys()):
        for name, constraint in tables[table].constraints.items():
            written = sorted({*constraint.columns} & expected[table].columns.keys())
            if (
                constraint.kind == CHECK
                and written
                and constraint.columns != ("status",)
                and name not in {*expected[table].constraints, f"ck_{table}_not_null"}
            ):
                yield (
                    f"the constraint {name} on {table} is your own, and the library writes "
                    f"{', '.join(written)}: a write that breaks it fails"
                )


def _evaluate(connection: sa.Connection, constraint: Constraint, statuses: list[str]) -> list[str]:
    """Return the statuses that a CHECK refuses; none if it reads other columns than ``status``.

    The connection must be in a transaction.
    """
    condition = re.fullmatch(r"CHECK \((.*)\)( NO INHERIT)?", constraint.definition, re.DOTALL)
    if constraint.kind != CHECK or constraint.columns != ("status",) or condition is None:
        return []
    values = ", ".join(f"({quote_text(status)})" for status in statuses)
    query = f"SELECT status FROM (VALUES {values}) AS written (status) WHERE NOT ({condition[1]})"
    try:
        with connection.begin_nested():
            return [*connection.exec_driver_sql(query.replace("%", "%%")).scalars()]
    except sa.exc.DBAPIError:
        return statuses  # A CHECK that raises an error refuses the row too.
