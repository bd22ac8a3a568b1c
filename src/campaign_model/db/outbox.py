"""The outbox: a row for every change of a campaign's status, until a consumer takes it.

``create_outbox`` adds the table ``campaign_outbox`` and a trigger. When a transaction adds a row to
``campaign_history``, the trigger copies it to the outbox in the same transaction: so there is a row
if and only if the change is committed, whichever program made it. ``take_moves`` deletes rows and
returns them, in the transaction of the consumer. If that transaction is rolled back, the rows are
there again.

A consumer cannot read ``campaign_history`` itself and remember the last entry: a transaction that
began earlier may commit later, and the consumer would never see its entry.
"""

from __future__ import annotations

import sqlalchemy as sa

from campaign_model._values import checked_number
from campaign_model.campaign import Move
from campaign_model.db.rls import secure_new_table
from campaign_model.db.schema import OUTBOX, quote
from campaign_model.db.setup import (
    change_tables,
    read_access,
    require_all_rows,
    require_tables,
    require_usable_options,
)
from campaign_model.lifecycle import Action, Status
from campaign_model.store.connection import check_session
from campaign_model.store.tables import campaign_history, value_from_row

_MOST_MOVES = 10_000
_TRIGGER = "campaign_model_fill_outbox"

outbox: sa.Table = sa.Table(
    OUTBOX,
    sa.MetaData(),
    # The order of the moves. Times are none: the clock of a database can go back.
    sa.Column(
        "number",
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        sa.Identity(),
        primary_key=True,
    ),
    *(sa.Column(one.name, one.type, nullable=one.nullable) for one in campaign_history.c),
)

_COLUMNS = ", ".join(quote(column.name) for column in campaign_history.c)
_NEW_VALUES = ", ".join(f"NEW.{quote(column.name)}" for column in campaign_history.c)
# The history of an adopted campaign begins with an entry that is no move.
_IS_MOVE = "NEW.action <> 'adopted'"

_CREATE_TRIGGER_ON_SQLITE = f"""
CREATE TRIGGER IF NOT EXISTS {_TRIGGER}
AFTER INSERT ON campaign_history
WHEN {_IS_MOVE}
BEGIN
    INSERT INTO {OUTBOX} ({_COLUMNS}) VALUES ({_NEW_VALUES});
END"""  # noqa: S608 - the names are constants

# With SECURITY DEFINER, the function writes with the rights of the owner. So it must not use a
# search_path that another role has chosen: it names the schema.
_CREATE_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {{schema}}.{_TRIGGER}()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO {{schema}}.{OUTBOX} ({_COLUMNS}) VALUES ({_NEW_VALUES});
    RETURN NULL;
END
$$"""  # noqa: S608 - the names are constants

_CREATE_TRIGGER = f"""
CREATE OR REPLACE TRIGGER {_TRIGGER}
AFTER INSERT ON campaign_history
FOR EACH ROW
WHEN ({_IS_MOVE})
EXECUTE FUNCTION {{schema}}.{_TRIGGER}()"""


def create_outbox(connection: sa.Connection) -> None:
    """Create the table ``campaign_outbox`` and its trigger, in the caller's transaction.

    Moves from then on are in the outbox, and stay there until a consumer takes them
    (:func:`take_moves`): create it only if there is one. A second call changes nothing. It needs
    the rights of the schema's owner; the roles of services need no right on the outbox. Raises
    :class:`SetupError` if the library's tables are missing, or if a table is still locked after a
    minute. Call it at the beginning of the transaction.
    """
    require_usable_options(connection)
    check_session(connection)
    require_tables(connection, [campaign_history.name])
    change_tables(connection, _create)


def drop_outbox(connection: sa.Connection) -> None:
    """Drop the trigger and the table in the caller's transaction.

    The moves that no service has taken yet are deleted with the table.

    Raises :class:`SetupError` if a table is still locked after a minute.
    """
    require_usable_options(connection)
    change_tables(connection, _drop)


def _create(connection: sa.Connection) -> None:
    outbox.create(connection, checkfirst=True)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_CREATE_TRIGGER_ON_SQLITE)
        return
    schema = read_access(connection).schema
    for statement in (_CREATE_FUNCTION, _CREATE_TRIGGER):
        connection.exec_driver_sql(statement.format(schema=schema))
    secure_new_table(connection, OUTBOX)


def _drop(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {_TRIGGER}")
    else:
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {_TRIGGER} ON campaign_history")
        connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {_TRIGGER}()")
    outbox.drop(connection, checkfirst=True)


def take_moves(connection: sa.Connection, limit: int = 100) -> tuple[Move, ...]:
    """Delete up to ``limit`` moves (1 to 10,000) of all tenants from the outbox, and return them.

    Deliver them and then commit. If the delivery fails, roll back: the moves are there again, so a
    receiver gets some of them twice, but none is lost. Of one campaign, earlier moves come first.
    On PostgreSQL several consumers may run at once: each of them skips the moves that another one
    has taken. The moves of a campaign are delivered in order only if there is one consumer. On
    SQLite, no other program can write until the transaction of the consumer ends.

    It needs the rights to SELECT, UPDATE and DELETE on the table, and acts across all tenants.
    Raises :class:`InvalidArgument` for another ``limit``, and :class:`SetupError` if row-level
    security hides rows from the role.
    """
    require_usable_options(connection)
    checked_number(limit, 1, _MOST_MOVES, "limit")
    require_all_rows(connection, (OUTBOX,))
    number = outbox.c.number
    select = sa.select(outbox).order_by(number).limit(limit).with_for_update(skip_locked=True)
    rows = connection.execute(select).all()
    if rows:
        connection.execute(sa.delete(outbox).where(number.in_([row.number for row in rows])))
    return tuple(
        value_from_row(
            Move,
            row,
            action=Action(row.action),
            source=Status(row.source),
            target=Status(row.target),
        )
        for row in rows
    )
