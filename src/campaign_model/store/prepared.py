"""Statements of the workers' loop: composed with Core, spelled once, sent as they are.

Finding a statement in Core's cache and sorting its parameters takes as long as PostgreSQL's answer
does. Past that, this is Core's connection still: its transaction, the events of its cursors, and
its errors.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

__all__ = ["Prepared", "goes_past_core"]

_SCHEMAS = "schema_translate_map"
"""An option of Core's by which a statement's tables stand in other schemas."""


class Prepared:
    """A statement that takes and gives the values that psycopg has for its types.

    Nothing checks or converts them here: ids and times are seen to where they come in, and times
    come out in any time zone. What is the same every time has to be written out in the statement.
    Other drivers, and other schemas, take the way through Core.
    """

    def __init__(self, statement: Any) -> None:
        self.statement = statement

    @cached_property
    def _text(self) -> str:
        dialect = psycopg.dialect()  # type: ignore[no-untyped-call]
        return str(self.statement.compile(dialect=dialect))

    def execute(self, connection: sa.Connection, values: dict[str, Any]) -> sa.CursorResult[Any]:
        """The result, for ``values`` by name."""
        if goes_past_core(connection):
            return connection.exec_driver_sql(self._text, values)
        return connection.execute(self.statement, values)


def goes_past_core(connection: sa.Connection) -> bool:
    """Whether its driver is the one whose ways this library knows, and gets statements as written.

    Then it is given values as that driver takes them, and else as Core does.
    """
    known = connection.dialect.driver == psycopg.dialect.driver
    return known and _SCHEMAS not in connection.get_execution_options()
