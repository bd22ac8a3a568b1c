"""The setting ``campaign_model.tenant_id``: which tenant's rows a transaction may see and change.

The policies of row-level security (``db rls install``) compare each row with this setting. In a
database without these policies, nothing reads the setting.

1. :func:`choose_tenant` notes which tenant the next statement of a connection needs. A new store
   calls it, and so does every use of the connection by the store.
2. A listener for SQLAlchemy's event ``do_execute`` sends ``SET LOCAL`` before the next statement,
   unless the transaction has the setting already.

Invariant: a statement of a store runs with the setting of this store's tenant, also if stores of
several tenants share a transaction, or if the transaction is rolled back to a savepoint before the
setting. Each transaction begins without the setting, because ``SET LOCAL`` ends with its
transaction. So a pooled connection never passes a tenant on.

``SET LOCAL`` needs no round trip of its own with psycopg, which sends it together with the BEGIN of
the transaction, and with psycopg2, which sends it together with the statement. With asyncpg, and
with psycopg in a transaction that has begun already, it is one more statement. The library does not
call ``set_config()``, which would accept the tenant as a parameter, because a sharded PostgreSQL
passes only ``SET LOCAL`` on to its workers.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.store.connection import listen_once

TENANT_SETTING = "campaign_model.tenant_id"
"""The name of the setting."""

_CHOICE = "_campaign_model_tenant"
"""The attribute of a connection that holds its :class:`_Choice`.

``Connection.info`` is the wrong place: it belongs to the driver's connection, which a pool later
lends to other users.
"""


@attrs.define(eq=False)
class _Choice:
    """The tenant that statements of a connection need, and whether SET LOCAL has been sent.

    * Before: ``transaction`` is the transaction in which the tenant was chosen, or None if no
      transaction had begun.
    * Afterwards: ``transaction`` is the transaction that has the setting. ``savepoint`` is the
      innermost savepoint when SET LOCAL was sent; a rollback to it takes the setting back.
    """

    tenant_id: UUID
    transaction: sa.RootTransaction | None
    savepoint: sa.NestedTransaction | None = None
    is_sent: bool = False


def choose_tenant(connection: sa.Connection, tenant_id: UUID) -> None:
    """Let the next statement of ``connection`` run with the setting of this tenant.

    On SQLite, do nothing.
    """
    if connection.dialect.name != "postgresql":
        return
    choice: _Choice | None = getattr(connection, _CHOICE, None)
    transaction = connection.get_transaction()
    is_chosen = (
        choice is not None
        and choice.tenant_id == tenant_id
        and choice.transaction is transaction
        and (choice.savepoint is None or choice.savepoint.is_active)
    )
    if not is_chosen:
        listen_once(connection.dialect, *_LISTENERS)
        setattr(connection, _CHOICE, _Choice(tenant_id, transaction))


def _before_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Send the SET LOCAL that the statement needs.

    Return True if the statement itself was sent with it, so that SQLAlchemy does not send it again.
    """
    set_local = _take_unsent(statement, context)
    if set_local is None:
        return False
    if context.dialect.driver == "psycopg2" and cursor.name is None:
        context.dialect.do_execute(cursor, f"{set_local}; {statement}", parameters, context)
        return True
    _send(set_local, context)
    return False


def _before_other_execute(_cursor: Any, statement: str, *parameters_and_context: Any) -> None:
    """Send the SET LOCAL that a statement with many parameter sets, or without any, needs."""
    context = parameters_and_context[-1]
    set_local = _take_unsent(statement, context)
    if set_local is not None:
        _send(set_local, context)


_LISTENERS = (
    ("do_executemany", _before_other_execute),
    ("do_execute_no_params", _before_other_execute),
    ("do_execute", _before_execute),
)


def _take_unsent(statement: str, context: Any) -> str | None:
    """Return the SET LOCAL to send before this statement, if any, and note that it is sent."""
    connection: sa.Connection = context.root_connection
    choice: _Choice | None = getattr(connection, _CHOICE, None)
    if choice is None or choice.is_sent:
        return None
    # After an error, PostgreSQL accepts only a ROLLBACK, so SET LOCAL cannot come before it.
    if statement.startswith("ROLLBACK"):
        return None
    transaction = connection.get_transaction()
    if choice.transaction not in (None, transaction):
        delattr(connection, _CHOICE)  # It was chosen for a transaction that has ended.
        return None
    choice.transaction, choice.savepoint = transaction, connection.get_nested_transaction()
    choice.is_sent = True
    return f"SET LOCAL {TENANT_SETTING} = '{UUID(int=choice.tenant_id.int)}'"


def _send(set_local: str, context: Any) -> None:
    """Send SET LOCAL; with psycopg, together with the BEGIN of a transaction that begins now."""
    connection = context.root_connection.connection
    if context.dialect.driver == "psycopg":
        _send_with_begin(set_local, connection.driver_connection)
        return
    with closing(connection.cursor()) as cursor:
        cursor.execute(set_local)


def _send_with_begin(set_local: str, driver_connection: Any) -> None:
    """Send SET LOCAL with libpq, in one message with BEGIN if no transaction has begun.

    psycopg itself would send BEGIN in a message of its own. ``driver_connection`` is psycopg's
    connection.
    """
    from psycopg import errors, pq  # noqa: PLC0415 - an extra

    pgconn = driver_connection.pgconn
    is_idle = pgconn.transaction_status == pq.TransactionStatus.IDLE
    if is_idle and not driver_connection.autocommit:
        set_local = f"{_write_begin(driver_connection)}; {set_local}"
    result = pgconn.exec_(set_local.encode())
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise errors.error_from_result(result)


def _write_begin(driver_connection: Any) -> str:
    """Write the BEGIN that psycopg would send, with the connection's transaction modes."""
    words = ["BEGIN"]
    if driver_connection.isolation_level is not None:
        words.append(f"ISOLATION LEVEL {driver_connection.isolation_level.name.replace('_', ' ')}")
    if driver_connection.read_only is not None:
        words.append("READ ONLY" if driver_connection.read_only else "READ WRITE")
    if driver_connection.deferrable is not None:
        words.append("DEFERRABLE" if driver_connection.deferrable else "NOT DEFERRABLE")
    return " ".join(words)
