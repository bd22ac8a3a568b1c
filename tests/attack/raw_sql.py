"""Attacks row-level security: plain SQL of a role that has the rights of a service only.

The transaction has the tenant of the attacker. Everything else is as in :mod:`attack.attack`: the
statement and its twin must have equal answers or errors, and leave no trace in the victim's rows.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from attack.arguments import replace_ids
from attack.attack import ROLL_BACK, Attack
from campaign_model.store.connection import sqlstate
from campaign_model.store.tables import metadata
from campaign_model.store.tenant_setting import TENANT_SETTING

STATEMENTS = {
    "one": "SELECT * FROM {table} WHERE {key} = %(id)s",
    "several": "SELECT * FROM {table} WHERE {key} = ANY (%(ids)s)",
    "all": "TABLE {table}",
    "of a tenant": "SELECT * FROM {table} WHERE tenant_id = %(tenant)s OR {key} = %(id)s",
    "numbers": "SELECT count(*), min({key}::text), max({key}::text) FROM {table}",
    "exists": "SELECT EXISTS (SELECT FROM {table} WHERE tenant_id = %(tenant)s)",
    "join": "SELECT a.* FROM {table} AS a JOIN {table} AS b ON b.tenant_id = %(tenant)s OR true",
    "subquery": "SELECT (SELECT max(tenant_id::text) FROM {table} WHERE {key} = %(id)s)",
    "an error of a row": "SELECT * FROM {table} WHERE {key}::text::integer = 1",
    "a division": "SELECT 1 / (tenant_id <> %(tenant)s)::integer FROM {table}",
    "lock": "SELECT * FROM {table} WHERE tenant_id = %(tenant)s OR {key} = %(id)s FOR {lock}",
    "lock all": "SELECT * FROM {table} FOR {lock}",
    "update": "UPDATE {table} SET {key} = {key} WHERE tenant_id = %(tenant)s OR {key} = %(id)s",
    "update all": "UPDATE {table} SET tenant_id = tenant_id",
    "update by join": (
        "UPDATE {table} AS a SET {key} = a.{key} FROM {table} AS b WHERE b.{key} = %(id)s"
    ),
    "give away": "UPDATE {table} SET tenant_id = %(tenant)s",
    "take over": (
        "UPDATE {table} SET tenant_id = %(own)s WHERE tenant_id = %(tenant)s OR {key} = %(id)s"
    ),
    "delete": "DELETE FROM {table} WHERE tenant_id = %(tenant)s OR {key} = ANY (%(ids)s)",
    "insert copies": "INSERT INTO {table} SELECT * FROM {table} WHERE tenant_id = %(tenant)s",
    "insert for the tenant": "INSERT INTO {table} (tenant_id, {key}) VALUES (%(tenant)s, %(new)s)",
    "merge": (
        "MERGE INTO {table} AS a USING (SELECT %(id)s::uuid AS id) AS b ON a.{key} = b.id "
        "WHEN MATCHED THEN UPDATE SET tenant_id = a.tenant_id"
    ),
    "cursor": "WITH rows AS MATERIALIZED (TABLE {table}) SELECT * FROM rows WHERE {key} = %(id)s",
}
"""Statements by name. ``{key}`` is the column that tells rows apart."""

LOCKS = [
    f"{strength} {wait}"
    for strength in ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE")
    for wait in ("", "NOWAIT", "SKIP LOCKED")
]
KEYS = {
    table.name: next(
        name for name in ("id", "campaign_contact_id", "campaign_id") if name in table.c
    )
    for table in metadata.sorted_tables
}
NEW = UUID("00000000-0000-4000-8000-000000000000")


class RawAttack(Attack):
    """Sends plain SQL, by the names of ``STATEMENTS``. The attacker's role is bound by policies."""

    def __init__(self, engine: sa.Engine, seed: int, attacker_engine: sa.Engine) -> None:
        super().__init__(engine, seed, methods=[*STATEMENTS], attacker_engine=attacker_engine)

    def draw_call(self, _name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw a table, ids and a lock."""
        table = self.random.choice([*KEYS])
        kind = {"id": table, "campaign_contact_id": "campaign_contacts"}.get(
            KEYS[table], "campaigns"
        )
        ids = [
            self.random.choice(self.random.choice((self._own, self._victim)).ids[kind])
            for _ in range(3)
        ]
        arguments = {
            "table": table,
            "lock": self.random.choice(LOCKS),
            "id": ids[0],
            "ids": ids,
            "tenant": self._victim.tenant.id,
            "own": self._own.tenant.id,
            "new": NEW,
        }
        return arguments, replace_ids(arguments, self._twins)

    def _answer(self, connection: sa.Connection, name: str, arguments: dict[str, Any]) -> str:
        """Execute the statement and return its rows, or its error, as text."""
        table = arguments["table"]
        sql = STATEMENTS[name].format(table=table, key=KEYS[table], lock=arguments["lock"])
        connection.exec_driver_sql(f"SET LOCAL {TENANT_SETTING} = '{self._own.tenant.id}'")
        try:
            result = connection.exec_driver_sql(sql, arguments)
        except sa.exc.DBAPIError as error:
            connection.exec_driver_sql(ROLL_BACK)
            return f"error {sqlstate(error)} {error.orig}"
        if not result.returns_rows:
            return f"{result.rowcount} rows"
        return repr(sorted(repr(tuple(row)) for row in result))

    def _attack_and_commit(self) -> None:
        """Commit a statement."""
        self._number += 1
        name = self._next_method()
        arguments, _ = self.draw_call(name)
        self.report.calls[name] += 1
        with self._connect() as connection:
            self._answer(connection, name, arguments)
            connection.commit()
