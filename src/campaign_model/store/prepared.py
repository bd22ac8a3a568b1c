"""Statements of the workers' loop: composed with Core, spelled once, sent as they are.

Finding a statement in Core's cache, sorting its parameters and describing the columns of its result
take as long as PostgreSQL's answer does. Past that, this is Core's connection still: its
transaction, its errors, and whoever listens to its cursors or logs what they are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

__all__ = ["Prepared", "takes_drivers_values"]

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

    def execute(self, connection: sa.Connection, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows that come, if it is one that selects, for ``values`` by name."""
        if not takes_drivers_values(connection):
            result = connection.execute(self.statement, values)
        elif _is_plain(connection):
            return _driven(connection, self._text, values, rows=self.statement.is_select)
        else:
            result = connection.exec_driver_sql(self._text, values)
        return result.all() if result.returns_rows else ()


def takes_drivers_values(connection: sa.Connection) -> bool:
    """Whether its driver is the one whose ways this library knows, and gets statements as written.

    Then it is given values as that driver takes them, and else as Core does.
    """
    known = connection.dialect.driver == psycopg.dialect.driver
    return known and _SCHEMAS not in connection.get_execution_options()


def _is_plain(connection: sa.Connection) -> bool:
    """Whether nobody hears what its cursors are given, and its transaction is not over.

    Core keeps the names to itself by which it knows; if it has one no more, somebody may listen.
    """
    transaction = connection.get_nested_transaction() or connection.get_transaction()
    # A savepoint may be over, and the block that began it go on.
    block = getattr(connection, "_trans_context_manager", None)
    return all(one is None or one.is_active for one in (transaction, block)) and not (
        getattr(connection, "_echo", True)
        or getattr(connection, "_has_events", True)
        or getattr(connection.engine, "_has_events", True)
        or getattr(connection.dialect, "_has_events", True)
    )


def _driven(
    connection: sa.Connection, text: str, values: Mapping[str, Any], *, rows: bool
) -> Sequence[Sequence[Any]]:
    """What the driver's own cursor gives, in Core's transaction and with Core's errors."""
    if not connection.in_transaction():
        connection.begin()
    driver = connection.connection
    cursor = None
    try:
        cursor = driver.cursor()
        cursor.execute(text, values)
        found = cursor.fetchall() if rows else ()
        cursor.close()
    except BaseException as error:  # noqa: BLE001 - Core's own way: an interrupted one is lost
        of_driver = isinstance(error, connection.dialect.loaded_dbapi.Error)
        sent = text if of_driver else None
        connection._handle_dbapi_exception(error, sent, values, cursor, None)  # noqa: SLF001
    return found
