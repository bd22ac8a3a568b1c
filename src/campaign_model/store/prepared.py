"""Statements of the workers' loop: composed with Core, spelled once, sent as they are.

Finding a statement in Core's cache and sorting its parameters takes as long as PostgreSQL's answer
does. Past that, this is Core's connection still: its transaction, its events and its errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

__all__ = ["Prepared"]


class Prepared:
    """A statement that takes and gives the values that psycopg has for its types.

    Nothing checks or converts them here: ids and times are seen to where they come in, and times
    come in any time zone. Other drivers take the way through Core.
    """

    def __init__(self, statement: Any) -> None:
        self.statement = statement

    @cached_property
    def _spelled(self) -> tuple[str, dict[str, Any]]:
        compiled = self.statement.compile(dialect=psycopg.dialect())  # type: ignore[no-untyped-call]
        fixed = {
            compiled.bind_names[bind]: bind.effective_value
            for bind in compiled.binds.values()
            if not bind.required
        }
        return str(compiled), fixed

    def execute(self, connection: sa.Connection, values: Mapping[str, Any]) -> sa.CursorResult[Any]:
        """The result, of ``connection``; values with names that it does not know are ignored."""
        if connection.dialect.driver != psycopg.dialect.driver:
            return connection.execute(self.statement, values)
        text, fixed = self._spelled
        return connection.exec_driver_sql(text, {**values, **fixed})
