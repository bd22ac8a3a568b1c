"""Watches the victim's rows: finds every change and every lock of one, with one cheap query.

On PostgreSQL each row has its place and the two transactions that wrote and that last locked or
deleted it (``ctid``, ``xmin``, ``xmax``). They also tell of a lock or a change that was rolled
back, and of a lock that a foreign key took (FOR KEY SHARE). The advisory locks of the present
transaction are those in ``pg_locks``. SQLite has no locks of rows; there the content of the rows is
compared after each call. On PostgreSQL that is done once at the end of a round.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from attack.world import TENANT_TABLES, Belongings
from campaign_model.store.locking import gate_key
from campaign_model.store.tables import campaign_templates
from support.tenants import HOST

_CONDITIONS = {table.name: "tenant_id = {tenant}" for table in TENANT_TABLES}
_CONDITIONS[HOST.tenants.name] = "id = {tenant}"
"""The victim's rows of each table."""

_TRACES = [
    f"SELECT '{name}', string_agg(concat_ws(' ', ctid, xmin, xmax), ', ' ORDER BY ctid) "  # noqa: S608
    f"FROM {name} WHERE {condition.format(tenant='%(tenant)s')}"
    for name, condition in _CONDITIONS.items()
]
_GATES = """
SELECT 'gates', string_agg(objid::text, ', ')
FROM pg_locks
WHERE locktype = 'advisory'
  AND pid = %(process)s
  AND (classid::bigint << 32) | objid::bigint = ANY (%(gates)s)"""
_SELECT_TRACES = " UNION ALL ".join([*_TRACES, _GATES])

_SELECT_ROWS = [
    *(f"SELECT * FROM {name} WHERE {condition}" for name, condition in _CONDITIONS.items()),  # noqa: S608
    f"SELECT * FROM {campaign_templates.name} WHERE tenant_id IS NULL",  # noqa: S608
]


class Watch:
    """Compares the victim's rows and locks with what they were when the watch began.

    An ``observer`` is a connection that sees all rows; by default, each connection that is asked
    about does.
    """

    def __init__(
        self, victim: Belongings, attacker: Belongings, observer: sa.Connection | None = None
    ) -> None:
        self._observer = observer
        self._tenant_id = victim.tenant.id
        self._parameters = {
            "tenant": str(victim.tenant.id),
            "gates": [
                gate_key(tenant_id, campaign_id)
                for tenant_id in (victim.tenant.id, attacker.tenant.id)
                for campaign_id in victim.ids["campaigns"]
            ],
        }
        with victim.tenant.engine.connect() as connection:
            self._traces = self._read_traces(connection)
            self._rows = self._read_rows(connection)

    def find_traces(self, connection: sa.Connection) -> str | None:
        """Say which rows of the victim this transaction or an earlier one has changed or locked."""
        traces = self._read_traces(connection)
        return None if traces == self._traces else f"traces in {_diff(self._traces, traces)}"

    def find_changes(self, connection: sa.Connection) -> str | None:
        """Compare every column of every row."""
        rows = self._read_rows(connection)
        return None if rows == self._rows else f"changed rows: {_diff(self._rows, rows)}"

    def _read_traces(self, connection: sa.Connection) -> list[Any]:
        if connection.dialect.name == "sqlite":
            return self._read_rows(connection)
        driver: Any = connection.connection.driver_connection
        parameters = self._parameters | {"process": driver.info.backend_pid}
        return [*(self._observer or connection).exec_driver_sql(_SELECT_TRACES, parameters)]

    def _read_rows(self, connection: sa.Connection) -> list[Any]:
        """Return the rows as the driver gives them, which takes the least time."""
        is_sqlite = connection.dialect.name == "sqlite"
        tenant = f"'{self._tenant_id.hex if is_sqlite else self._tenant_id}'"
        driver: Any = connection.connection.driver_connection
        rows: list[Any] = []
        for query in _SELECT_ROWS:
            found = driver.execute(query.format(tenant=tenant)).fetchall()
            rows += found if is_sqlite else sorted(map(repr, found))
        return rows


def _diff(before: list[Any], after: list[Any]) -> str:
    return (
        f"{[row for row in before if row not in after]} -> {[r for r in after if r not in before]}"
    )
