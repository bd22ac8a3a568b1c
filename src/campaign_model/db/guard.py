"""The transition guard: triggers that refuse what no function of the library does.

``install_guard`` adds the triggers, ``remove_guard`` removes them, and ``read_guard`` says which of
them are in place. Any program may write into the library's tables; with the guard, the database
refuses changes of a status that the lifecycle does not have, and changes that lose history or money
(:mod:`campaign_model.db.guard_rules`). The error has the SQLSTATE :data:`REFUSED`, and its message
is a sentence that says what to do.

On PostgreSQL, a row of the history must exist for each change of a campaign's status when the
transaction commits. SQLite has no triggers at the end of a transaction, so the guard on SQLite does
not check this.

``INSERT OR REPLACE`` on SQLite deletes rows without running the triggers of a DELETE. So the guard
refuses this statement, in three steps:

1. A trigger of each table runs ``INSERT OR IGNORE`` with a note that the table of notes always has.
2. SQLite applies the conflict clause of the outer statement to the statements of its triggers. So
   the note is replaced if the outer statement says ``OR REPLACE``, and ignored otherwise.
3. A trigger on the table of notes runs only if the note is replaced, and refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import attrs
import sqlalchemy as sa

from campaign_model._answer import Answer
from campaign_model.db.adoption.tolerance import TRIGGER as TOLERANCE_TRIGGER
from campaign_model.db.guard_rules import MOVED, describe_move, rules
from campaign_model.db.revisions import compare_version
from campaign_model.db.schema import quote_text
from campaign_model.db.setup import (
    SetupError,
    change_tables,
    require_tables,
    require_usable_options,
)
from campaign_model.store.connection import check_session
from campaign_model.store.deleting import NOTES
from campaign_model.store.tables import metadata
from campaign_model.store.tenant_setting import TENANT_SETTING

REFUSED = "23000"
"""The SQLSTATE of a refusal (``integrity_constraint_violation``): trying again does not help."""

_PREFIX = "campaign_model_guard"
"""The prefix of the names of the guard's triggers and functions."""

_OR_REPLACE = "insert or replace"
"""The note that the table of notes always has."""


@attrs.frozen
class GuardStatus(Answer):
    """Which triggers of the guard a database has.

    ``installed`` are the names of the triggers that are in place. ``missing`` are those that are
    missing or disabled, or that another version of the library has written.
    """

    installed: tuple[str, ...]
    missing: tuple[str, ...]


def install_guard(connection: sa.Connection) -> GuardStatus:
    """Add the triggers of the guard, in the caller's transaction, and return what is in place.

    Call it at the beginning of the transaction. Writers wait until the transaction ends. A second
    call changes nothing. With a newer version of the library, a call replaces the triggers. The
    role needs the rights of the tables' owner.

    Raises :class:`SetupError` if the library's tables are missing or of another version, if one of
    them is still locked after a minute, and if the database is only expanded (the step ``enforce``
    of an adoption has not run). Services that do not use the library may still write into such a
    database, and the guard would refuse their writes.
    """
    check_session(connection)
    missing = read_guard(connection).missing
    _require_enforced(connection)
    if missing:
        change_tables(connection, _create)
    return read_guard(connection)


def remove_guard(connection: sa.Connection) -> None:
    """Remove the triggers of the guard, of any version, in the caller's transaction.

    A second call changes nothing. The role needs the rights of the tables' owner. Raises
    :class:`SetupError` if a table is still locked after a minute.
    """
    require_usable_options(connection)
    change_tables(connection, _drop)


def read_guard(connection: sa.Connection) -> GuardStatus:
    """Return which triggers of the guard are in place. Change nothing.

    Raises :class:`SetupError` if a table of the library is missing.
    """
    require_usable_options(connection)
    require_tables(connection, metadata.tables)
    present_marks = {name: mark for name, _, mark in _read_triggers(connection)}
    triggers = _write_triggers(connection)
    in_place = [one.name for one in triggers if present_marks.get(one.name) == one.mark]
    return GuardStatus(
        tuple(in_place), tuple(one.name for one in triggers if one.name not in in_place)
    )


@attrs.frozen
class _Trigger:
    """A trigger as this version of the library writes it.

    ``statements`` create the trigger and what only this trigger uses. ``mark`` is a text that the
    database keeps with the trigger: a comment with a digest on PostgreSQL, and the CREATE statement
    on SQLite. A trigger with another mark is one of another version.
    """

    name: str
    statements: tuple[str, ...]
    mark: str


def _require_enforced(connection: sa.Connection) -> None:
    """Raise :class:`SetupError` unless the schema is complete and of this version."""
    if compare_version(connection) != "current":
        raise SetupError(
            "the schema is not that of this version of the library: run db init, db adopt for a "
            "legacy database, or upgrade the library"
        )
    if _read_triggers(connection, TOLERANCE_TRIGGER):
        raise SetupError(
            "this database is only expanded: services without this library may still write into "
            "it, and the guard would refuse their writes; stop them and run db enforce first"
        )


def _create(connection: sa.Connection) -> None:
    """Create every trigger, in place of those of another version."""
    _lock_tables(connection)
    _drop(connection)
    if connection.dialect.name == "sqlite":
        for statement in _CREATE_NOTES:
            connection.exec_driver_sql(statement)
    for trigger in _write_triggers(connection):
        for statement in trigger.statements:
            connection.exec_driver_sql(statement)


def _drop(connection: sa.Connection) -> None:
    """Drop everything that any version of the guard has created."""
    on_postgresql = connection.dialect.name == "postgresql"
    triggers = _read_triggers(connection)
    if triggers:
        _lock_tables(connection)
    for name, table, _ in triggers:
        of_table = f" ON {table}" if on_postgresql else ""
        connection.exec_driver_sql(f"DROP TRIGGER {name}{of_table}")
    if on_postgresql:
        for function in connection.scalars(_SELECT_FUNCTIONS, {"name": f"{_PREFIX}%"}).all():
            connection.exec_driver_sql(f"DROP FUNCTION {function}")
    else:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {NOTES}")


def _lock_tables(connection: sa.Connection) -> None:
    """Lock all tables, in the order of the store, so that no deadlock with a writer can occur."""
    if connection.dialect.name == "postgresql":
        # `metadata` has the tables in the order in which transactions of the store use them.
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(metadata.tables)}")


def _read_triggers(
    connection: sa.Connection, name: str = f"{_PREFIX}%"
) -> list[tuple[str, str, str]]:
    """Return name, table and mark of every trigger whose name matches the LIKE pattern ``name``.

    By default, these are the triggers of the guard, of any version. The mark of a disabled trigger
    is "".
    """
    select = _SELECT_TRIGGERS
    if connection.dialect.name == "sqlite":
        select = _SELECT_TRIGGERS_ON_SQLITE
    return [tuple(row) for row in connection.execute(select, {"name": name})]


def _write_triggers(connection: sa.Connection) -> list[_Trigger]:
    """Write every trigger of the guard."""
    if connection.dialect.name == "sqlite":
        return [*_write_triggers_on_sqlite()]
    return [*_write_triggers_on_postgresql(_read_schema(connection))]


# --- PostgreSQL -----------------------------------------------------------------------------------

_SELECT_TRIGGERS = sa.text(
    """
    SELECT
        CAST(tgname AS text),
        CAST(CAST(tgrelid AS regclass) AS text),
        CASE
            WHEN tgenabled IN ('O', 'A')
            THEN coalesce(obj_description(pg_trigger.oid, 'pg_trigger'), '') ELSE ''
        END
    FROM pg_trigger
    JOIN pg_class ON pg_class.oid = tgrelid
    WHERE tgname LIKE :name AND pg_table_is_visible(tgrelid)
    ORDER BY tgname
    """
)
_SELECT_FUNCTIONS = sa.text(
    """
    SELECT CAST(CAST(oid AS regprocedure) AS text)
    FROM pg_proc
    WHERE proname LIKE :name
      AND pronamespace = (
          SELECT relnamespace FROM pg_class WHERE oid = to_regclass('campaigns')
      )
    """
)


def _read_schema(connection: sa.Connection) -> str:
    """Return the schema of the library's tables, in quotes if it needs them."""
    schema: str = connection.exec_driver_sql(
        """
        SELECT quote_ident(nspname)
        FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE pg_class.oid = to_regclass('campaigns')
        """
    ).scalar_one()
    return schema


def _refuse_if(condition: str, sentence: str) -> str:
    """Write the statement that refuses with a sentence if ``condition``, which is SQL, is true."""
    return f"""IF {condition} THEN
        RAISE EXCEPTION USING
            ERRCODE = '{REFUSED}',
            MESSAGE = {quote_text(sentence)},
            SCHEMA = TG_TABLE_SCHEMA,
            TABLE = TG_TABLE_NAME,
            CONSTRAINT = TG_NAME;
    END IF;"""


def _write_triggers_on_postgresql(schema: str) -> Iterator[_Trigger]:
    """Write the triggers on PostgreSQL, for the tables in ``schema``."""

    def build_trigger(
        name: str, table: str, event: str, clauses: str, body: str, *, kind: str = "TRIGGER"
    ) -> _Trigger:
        """Return a trigger that calls a function of its own, which runs ``body``."""
        name = f"{_PREFIX}_{name}"
        # The search_path of the function finds nothing of other roles.
        create_function = f"""
CREATE FUNCTION {schema}.{name}() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$function$
BEGIN
    {body}
    RETURN NULL;
END
$function$"""
        create = f"""
CREATE {kind} {name} {event} ON {table}
{clauses}
EXECUTE FUNCTION {schema}.{name}()"""
        mark = sha256((create_function + create).encode()).hexdigest()[:16]
        comment = f"COMMENT ON TRIGGER {name} ON {table} IS '{mark}'"
        return _Trigger(name, (create_function, create, comment), mark)

    # 1. The rules.
    for rule in rules("postgresql"):
        # A BEFORE trigger runs before the foreign keys, so the error has the sentence of the rule.
        # But a table with a BEFORE trigger for UPDATE locks each row once more in every UPDATE. So
        # of the rules for UPDATE, only the keys of campaigns have a BEFORE trigger.
        is_before = rule.event == "DELETE" or rule.name == "campaigns_keys"
        timing = "BEFORE" if is_before else "AFTER"
        only_if = rule.only_if.format(schema=f"{schema}.") or "true"
        yield build_trigger(
            rule.name,
            rule.table,
            f"{timing} {rule.event}",
            f"FOR EACH ROW WHEN ({rule.condition})",
            _refuse_if(only_if, rule.sentence),
        )
    # 2. TRUNCATE.
    for table in metadata.tables:
        yield build_trigger(
            f"{table.removeprefix('campaign_')}_truncate",
            table,
            "BEFORE TRUNCATE",
            "FOR EACH STATEMENT",
            _refuse_if(
                "true",
                "TRUNCATE would delete the rows of every tenant: call db.remove_tenant to delete "
                "everything of one tenant",
            ),
        )
    # 3. When the status of a campaign changes, write a note. The rule for new rows of the history
    #    compares the row with the note.
    value = describe_move("NEW.id", "NEW.version", "OLD.status", "NEW.status")
    for_each_move = "FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)"
    yield build_trigger(
        "campaigns_moved",
        "campaigns",
        "AFTER UPDATE OF status",
        for_each_move,
        f"PERFORM set_config('{MOVED}', {value}, true);",
    )
    # 4. When the transaction commits, look for the row of the history.
    lacks_history = f"""EXISTS (
        SELECT FROM {schema}.campaigns WHERE tenant_id = NEW.tenant_id AND id = NEW.id
    ) AND NOT EXISTS (
        SELECT
        FROM {schema}.campaign_history
        WHERE tenant_id = NEW.tenant_id
          AND campaign_id = NEW.id
          AND version = NEW.version
          AND source = OLD.status
          AND target = NEW.status
    )"""  # noqa: S608 - our own names
    refuse = _refuse_if(
        lacks_history,
        "the status of a campaign has changed, and its history does not say so: call "
        "store.campaigns.apply, which writes both",
    )
    # By then, the transaction may have chosen another tenant, and row-level security would hide the
    # rows. So the function chooses the tenant of the campaign, and the other one again afterwards.
    check = f"""DECLARE
        chosen text := coalesce(current_setting('{TENANT_SETTING}', true), '');
    BEGIN
        PERFORM set_config('{TENANT_SETTING}', CAST(NEW.tenant_id AS text), true);
        {refuse}
        PERFORM set_config('{TENANT_SETTING}', chosen, true);
    END;"""
    yield build_trigger(
        "campaigns_history",
        "campaigns",
        "AFTER UPDATE OF status",
        f"DEFERRABLE INITIALLY DEFERRED\n{for_each_move}",
        check,
        kind="CONSTRAINT TRIGGER",
    )


# --- SQLite ---------------------------------------------------------------------------------------

_CREATE_NOTES = (
    f"CREATE TABLE {NOTES} (note TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID",
    f"INSERT INTO {NOTES} (note) VALUES ('{_OR_REPLACE}')",  # noqa: S608 - constants
)
_SELECT_TRIGGERS_ON_SQLITE = sa.text(
    "SELECT name, tbl_name, sql FROM sqlite_master"
    " WHERE type = 'trigger' AND name LIKE :name ORDER BY name"
)


def _write_triggers_on_sqlite() -> Iterator[_Trigger]:
    """Write the triggers on SQLite."""

    def build_trigger(name: str, event: str, body: str, condition: str = "1") -> _Trigger:
        """Return a trigger that runs ``body`` if ``condition`` is true. All arguments are SQL."""
        create = f"CREATE TRIGGER {_PREFIX}_{name} {event}\nWHEN {condition}\nBEGIN\n{body};\nEND"
        return _Trigger(f"{_PREFIX}_{name}", (create,), create)

    def write_refusal(sentence: str) -> str:
        return f"    SELECT RAISE(ABORT, {quote_text(sentence)})"

    # 1. The rules.
    for rule in rules("sqlite"):
        # An AFTER trigger sees only rows that the keys and CHECKs of the table have accepted.
        timing = "BEFORE" if rule.event == "DELETE" else "AFTER"
        only_if = f" AND {rule.only_if.format(schema='')}" if rule.only_if else ""
        yield build_trigger(
            rule.name,
            f"{timing} {rule.event} ON {rule.table}",
            write_refusal(rule.sentence),
            f"({rule.condition}){only_if}",
        )
    # 2. INSERT OR REPLACE. The module's docstring explains how these triggers recognise it.
    for table in metadata.tables:
        name = f"{table.removeprefix('campaign_')}_replace"
        body = f"    INSERT OR IGNORE INTO {NOTES} (note) VALUES ('{_OR_REPLACE}')"  # noqa: S608
        yield build_trigger(name, f"BEFORE INSERT ON {table}", body)
        refusal = write_refusal(
            "a row keeps its rowid: UPDATE OR REPLACE with the rowid of another row would delete "
            "that row"
        )
        name = f"{table.removeprefix('campaign_')}_rowid"
        event = f"BEFORE UPDATE OF rowid, oid, _rowid_ ON {table}"
        yield build_trigger(name, event, refusal)
    refusal = write_refusal(
        "INSERT OR REPLACE deletes rows that must be kept: call the methods of the store, or write "
        "INSERT ... ON CONFLICT DO UPDATE"
    )
    is_replaced = f"NEW.note = '{_OR_REPLACE}'"
    yield build_trigger("replace", f"AFTER INSERT ON {NOTES}", refusal, is_replaced)
    # 3. When the status of a campaign changes, write a note. It replaces the note of an earlier
    #    change. The rule for new rows of the history compares the row with the note.
    value = describe_move("NEW.id", "NEW.version", "OLD.status", "NEW.status")
    body = f"""    DELETE FROM {NOTES} WHERE note LIKE '{MOVED}:%';
    INSERT OR IGNORE INTO {NOTES} (note) VALUES ('{MOVED}:' || {value})"""  # noqa: S608
    is_moved = "OLD.status IS NOT NEW.status"
    yield build_trigger("campaigns_moved", "AFTER UPDATE OF status ON campaigns", body, is_moved)
