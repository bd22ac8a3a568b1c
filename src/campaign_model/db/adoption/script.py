"""An adoption as one SQL script, for operators who apply migrations with psql.

``write_script`` puts the statements of the plan and the repairs into the order of an adoption. The
loops over batches, which the library runs in Python, are here a block and procedures in PL/pgSQL.
The script repeats nothing: an adoption that ends early is continued by ``db.adopt`` or by a new
script.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator

import attrs

from campaign_model.db.adoption.audit import write_audits
from campaign_model.db.adoption.audit_keys import write_key_audits
from campaign_model.db.adoption.catalog import Table
from campaign_model.db.adoption.functions import CREATE_FUNCTIONS
from campaign_model.db.adoption.legacy_database import LegacyDatabase, select_batches
from campaign_model.db.adoption.plan import Statement, plan_host_key
from campaign_model.db.adoption.repair import RowRepair, list_repairs
from campaign_model.db.adoption.session import PSQL_SESSION_CHECK
from campaign_model.db.revisions import VERSION_TABLE, newest_revision
from campaign_model.db.schema import create_statements
from campaign_model.db.setup import SELECT_LOCK_HOLDER, SETUP_LOCK
from campaign_model.db.system_templates import write_preset_insert
from campaign_model.store.tables import HostTables

_LINT_EXCEPTIONS = {
    "ban-drop-constraint": "a constraint of the library, or NOT NULL, replaces each of them",
    "changing-column-type": "dropping a limit neither rewrites nor reads the table",
    "prefer-robust-stmts": "the script ends at the first error, and db sql --url prints the rest",
    "prefer-bigint-over-int": "legacy databases have integers; bigint would rewrite the table",
    "prefer-bigint-over-smallint": "the number of a shard is small",
    "prefer-text-field": "Alembic creates its version table so",
    "require-concurrent-index-creation": "only indexes of new tables are not built CONCURRENTLY",
    "require-statement-timeout": "building an index takes long, and blocks no reader or writer",
    "renaming-object": "only constraints are renamed, and no application names them",
}
"""Rules of the linter squawk that do not apply to the script, with the reason."""

# What an audit does with a finding that needs a decision, and at its end.
_WARN = """\
        RAISE WARNING '%.% of %: % (%)',
            _finding.table_name,
            _finding.column_name,
            _finding.id,
            _finding.kind,
            _finding.before;"""
_RAISE = """\
    IF _undecided > 0 THEN
        RAISE EXCEPTION 'values that need a decision: %; nothing was changed', _undecided;
    END IF;"""

_LOCK_TIMEOUT, _NO_TIMEOUT = "'5s'", "0"


def write_script(database: LegacyDatabase) -> str:
    """Write the script for a database that has been inspected."""
    inspection = database.inspection
    audits = {} if inspection.is_done else write_audits(database)
    # A database without tables of the library has no rows to repair.
    completed = attrs.evolve(database, inspection=inspection.with_all_columns())
    repairs = list(list_repairs(completed)) if audits else []
    call_repairs = [
        f"SET lock_timeout = {_NO_TIMEOUT};",
        *(f"CALL pg_temp.repair_{repair.table}();" for repair in repairs),
    ]
    return _write_script(
        "the database as it was found",
        *(f"{function.strip()};" for function in CREATE_FUNCTIONS),
        *(_write_key_audit(audit) for audit in (write_key_audits(database) if audits else ())),
        *(_write_audit(database, table, audit) for table, audit in audits.items()),
        *_write_statements(inspection.plan.complete),
        *map(_write_procedure, repairs),
        *call_repairs,
        *_write_statements(inspection.plan.constrain),
        # Repair the rows that writers have added since the first repair.
        *call_repairs,
        *_write_statements(inspection.plan.validate),
        # Count the totals of campaigns again whose contacts have changed since their repair.
        *(() if inspection.has_version else call_repairs),
    )


def write_empty_script(host: HostTables) -> str:
    """Write the script for a database that has only the host's tables, without looking at it."""
    names = dict.fromkeys((host.owners, host.contacts))
    keys = [statement for name in names for statement in plan_host_key(name, Table({}))]
    return _write_script(
        "a database without tables of the library",
        *_write_statements(keys),
        *(f"{statement};" for statement in create_statements("postgresql", host)),
    )


def _write_script(description: str, *parts: str) -> str:
    """Put the settings of the session before the parts, and the record of the version after."""
    lint_exceptions = "\n".join(
        f"-- {reason}\n-- squawk-ignore-file {rule}" for rule, reason in _LINT_EXCEPTIONS.items()
    )
    head = f"""\
-- Brings {description} to the schema of campaign-model, revision {newest_revision()}.
--
--   psql -X -v ON_ERROR_STOP=1 -f FILE
--
-- The script is not one transaction: it builds indexes and repairs rows while others read and
-- write. It first checks every row, and ends before any change if a value needs a decision. It
-- cannot run the checks that need Python (JSON inside JSON strings, numbers beyond double
-- precision):  campaign-model db adopt --dry-run  runs them. If the script is interrupted,
-- campaign-model db adopt  or  campaign-model db sql --url  continues.

{lint_exceptions}

\\set ON_ERROR_STOP on
{PSQL_SESSION_CHECK}
SET standard_conforming_strings = on;
SET client_min_messages = warning;
SET statement_timeout = 0;
SET row_security = off;
SET lock_timeout = {_LOCK_TIMEOUT};
DO $$
BEGIN
    IF NOT pg_try_advisory_lock({SETUP_LOCK}) THEN
        RAISE EXCEPTION 'another adoption of this database is running: %', (
{textwrap.indent(SELECT_LOCK_HOLDER.strip(), " " * 12)}
        );
    END IF;
END
$$;"""
    record_version = f"""\
CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)
);
BEGIN;
DELETE FROM {VERSION_TABLE};
INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{newest_revision()}');
COMMIT;
DO $$ BEGIN PERFORM pg_advisory_unlock({SETUP_LOCK}); END $$;"""
    return "\n\n".join((head, *parts, f"{write_preset_insert()};", record_version)) + "\n"


def _write_audit(database: LegacyDatabase, table: str, audit: str) -> str:
    """Write a block that raises an exception if a value of the table needs a decision."""
    return f"""\
DO $audit$
DECLARE
    _ids uuid[];
    _rows uuid[];
    _total bigint;
    _unreadable jsonb := '{{}}';
    _finding record;
    _undecided bigint := 0;
BEGIN
    FOR _ids, _rows, _total IN
{textwrap.indent(select_batches(database, table), " " * 8)}
    LOOP
        FOR _finding IN
            SELECT *
            FROM (
{_use_variables(audit)}
            ) AS finding (table_name, id, column_name, kind, before, after, undecided)
            WHERE undecided
        LOOP
            _undecided := _undecided + 1;
{textwrap.indent(_WARN, " " * 4)}
        END LOOP;
    END LOOP;
{_RAISE}
END
$audit$;"""


def _write_key_audit(audit: str) -> str:
    """Write a block that raises an exception if a row breaks a key."""
    return f"""\
DO $audit$
DECLARE
    _finding record;
    _undecided bigint := 0;
BEGIN
    FOR _finding IN
        SELECT *
        FROM (
{textwrap.indent(audit.strip(), " " * 12)}
        ) AS finding (table_name, id, column_name, kind, before)
    LOOP
        _undecided := _undecided + 1;
{_WARN}
    END LOOP;
{_RAISE}
END
$audit$;"""


def _write_procedure(repair: RowRepair) -> str:
    """Write a procedure that repairs the rows of a table, a batch in each transaction."""
    return f"""\
CREATE PROCEDURE pg_temp.repair_{repair.table}() LANGUAGE plpgsql AS
$repair$
DECLARE
    _ids uuid[];
    _rows uuid[];
    _total bigint;
    _unreadable jsonb := '{{}}';
    _triggers text[];
    _undecided bigint;
BEGIN
    FOR _ids, _rows, _total IN
{textwrap.indent(repair.batches, " " * 8)}
    LOOP
        -- Commit the last batch. The first COMMIT stores all batches: the loop then no longer uses
        -- the table, and its triggers can be disabled.
        COMMIT;
        _triggers := pg_temp.disable_triggers('{repair.table}');
        PERFORM
        FROM {repair.table}
        WHERE id = ANY(_rows)
        ORDER BY id
        FOR NO KEY UPDATE;
{_use_variables(repair.repair)}
        INTO _undecided;
        IF _undecided > 0 THEN
            RAISE EXCEPTION 'a writer has added values that need a decision';
        END IF;
        PERFORM pg_temp.enable_triggers(_triggers);
    END LOOP;
END
$repair$;"""


def _write_statements(statements: Iterable[Statement]) -> Iterator[str]:
    """Write schema statements, each run of them after the lock timeout that it needs."""
    for concurrent, group in itertools.groupby(statements, lambda statement: statement.concurrent):
        # A concurrent statement waits for other transactions, but they do not wait for it.
        yield f"SET lock_timeout = {_NO_TIMEOUT if concurrent else _LOCK_TIMEOUT};"
        yield from (f"{statement.sql};" for statement in group)


def _use_variables(sql: str) -> str:
    """Indent an audit or a repair, and replace its parameters by variables."""
    sql = textwrap.indent(sql.strip(), " " * 8)
    return re.sub(r"CAST\(:(ids|rows|unreadable) AS", r"CAST(_\1 AS", sql)
