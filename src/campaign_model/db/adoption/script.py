"""An adoption as one SQL script, for operators who apply migrations with psql.

``write_script`` puts the statements of the plan and the repairs into the order of an adoption. The
loops over batches, which the library runs in Python, are here DO blocks and procedures in PL/pgSQL.
The script repeats nothing: an adoption that ends early is continued by ``db.adopt`` or by a new
script.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterator

from campaign_model.db.adoption.batches import BATCH_CONTACTS, BATCH_ROWS
from campaign_model.db.adoption.functions import CREATE_FUNCTIONS
from campaign_model.db.adoption.legacy_database import LegacyDatabase, needs_repair
from campaign_model.db.adoption.plan import Plan, Statement
from campaign_model.db.adoption.repair_campaigns import audit_campaigns, repair_campaigns
from campaign_model.db.adoption.repair_contacts import repair_contacts
from campaign_model.db.adoption.repair_templates import audit_templates, repair_templates
from campaign_model.db.revisions import VERSION_TABLE, newest_revision
from campaign_model.db.setup import SETUP_LOCK
from campaign_model.db.system_templates import write_preset_insert

__all__ = ["write_script"]

_LINT_EXCEPTIONS = {
    "prefer-robust-stmts": "the script ends at the first error, and db sql --url prints the rest",
    "prefer-bigint-over-int": "legacy databases have integers; bigint would rewrite the table",
    "prefer-bigint-over-smallint": "the number of a shard is small",
    "prefer-text-field": "Alembic creates its version table so",
    "require-statement-timeout": "building an index takes long, and blocks no reader or writer",
    "renaming-object": "only constraints are renamed, and no application names them",
}
"""Rules of the linter squawk that do not apply to the script, with the reason."""

_LOCK_TIMEOUT, _NO_TIMEOUT = "'5s'", "0"


def write_script(
    description: str, plan: Plan, before: LegacyDatabase, after: LegacyDatabase
) -> str:
    """Write the script.

    ``description`` says which database it is for. ``before`` has the tables as they are, for the
    audit; ``after`` has them after the phase ``expand``, for the repairs.
    """
    has_rows = "campaigns" in before.tables or "campaign_templates" in before.tables
    call_repairs = _CALL_REPAIRS if has_rows else ()
    parts = [
        _write_head(description),
        *(f"{function};" for function in CREATE_FUNCTIONS),
        # The steps of an adoption: audit, expand, repair, enforce, repair late rows, validate.
        *_write_audits(before),
        *_write_statements(plan.expand),
        *(_write_repairs(after) if has_rows else ()),
        *call_repairs,
        *_write_statements(plan.enforce),
        *call_repairs,
        *_write_statements(plan.validate),
        # The last step: sync the system templates and record the version.
        f"{write_preset_insert()};",
        _write_version(),
        f"DO $$ BEGIN PERFORM pg_advisory_unlock({SETUP_LOCK}); END $$;",
    ]
    return "\n\n".join(parts) + "\n"


def _write_head(description: str) -> str:
    """Write the comment, the settings of the session, and the lock."""
    lint_exceptions = "\n".join(
        f"-- {reason}\n-- squawk-ignore-file {rule}" for rule, reason in _LINT_EXCEPTIONS.items()
    )
    return f"""\
-- Brings a database {description} to the schema of campaign-model, revision {newest_revision()}.
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
SET client_min_messages = warning;
SET statement_timeout = 0;
SET row_security = off;
SET lock_timeout = {_LOCK_TIMEOUT};
DO $$
BEGIN
    IF NOT pg_try_advisory_lock({SETUP_LOCK}) THEN
        RAISE EXCEPTION 'another adoption of this database is running';
    END IF;
END
$$;"""


def _write_audits(database: LegacyDatabase) -> Iterator[str]:
    """Write a block for each table that raises an exception if a value needs a decision."""
    for table, audit in (
        ("campaign_templates", audit_templates(database)),
        ("campaigns", audit_campaigns(database)),
    ):
        if table in database.tables:
            yield f"""\
DO $audit$
DECLARE
    _ids uuid[];
    _unreadable text[] := '{{}}';
    _last_id uuid;
    _finding record;
    _undecided bigint := 0;
BEGIN
    LOOP
{_select_batch(table)}
        EXIT WHEN _ids IS NULL;
        FOR _finding IN
            SELECT *
            FROM (
{_use_variables(audit)}
            ) AS finding (table_name, id, column_name, kind, before, after, undecided)
            WHERE undecided
        LOOP
            _undecided := _undecided + 1;
            RAISE WARNING '%.% of %: % (%)',
                _finding.table_name,
                _finding.column_name,
                _finding.id,
                _finding.kind,
                _finding.before;
        END LOOP;
        _last_id := _ids[cardinality(_ids)];
    END LOOP;
    IF _undecided > 0 THEN
        RAISE EXCEPTION 'values that need a decision: %; nothing was changed', _undecided;
    END IF;
END
$audit$;"""


def _write_repairs(database: LegacyDatabase) -> Iterator[str]:
    """Write a procedure for templates, and one for campaigns with their contacts."""
    contact_needs_repair = needs_repair(database, "campaign_contacts")
    # Contacts may need a repair although their campaign does not: writers have added them.
    before_campaigns = f"""
        IF _ids IS NULL THEN
            SELECT array_agg(campaign_id ORDER BY campaign_id)
            INTO _ids
            FROM (
                SELECT DISTINCT campaign_id
                FROM campaign_contacts
                WHERE {contact_needs_repair}
                ORDER BY campaign_id
                LIMIT {BATCH_ROWS}
            ) AS batch;
        END IF;
        EXIT WHEN _ids IS NULL;
        LOOP
            SELECT array_agg(id)
            INTO _rows
            FROM (
                SELECT id
                FROM campaign_contacts
                WHERE campaign_id = ANY(_ids) AND {contact_needs_repair}
                ORDER BY campaign_id, id
                LIMIT {BATCH_CONTACTS}
            ) AS batch;
            EXIT WHEN _rows IS NULL;
{_write_transaction("campaign_contacts", "_rows", repair_contacts(database))}
        END LOOP;"""
    for table, before_rows, repair in (
        ("campaign_templates", "\n        EXIT WHEN _ids IS NULL;", repair_templates(database)),
        ("campaigns", before_campaigns, repair_campaigns(database)),
    ):
        yield f"""\
CREATE PROCEDURE pg_temp.repair_{table}() LANGUAGE plpgsql AS
$repair$
DECLARE
    _ids uuid[];
    _rows uuid[];
    _unreadable text[] := '{{}}';
    _last_id uuid;
    _undecided bigint;
    _disabled text[];
BEGIN
    LOOP
{_select_batch(table, needs_repair(database, table))}{before_rows}
{_write_transaction(table, "_ids", repair)}
        _last_id := _ids[cardinality(_ids)];
    END LOOP;
END
$repair$;"""


_CALL_REPAIRS = (
    f"SET lock_timeout = {_NO_TIMEOUT};",
    "CALL pg_temp.repair_campaign_templates();",
    "CALL pg_temp.repair_campaigns();",
)


def _select_batch(table: str, condition: str = "true") -> str:
    """Write a statement that puts the ids of the next batch into a variable (NULL for none)."""
    return f"""\
        SELECT array_agg(id ORDER BY id)
        INTO _ids
        FROM (
            SELECT id
            FROM {table}
            WHERE (_last_id IS NULL OR id > _last_id) AND {condition}
            ORDER BY id
            LIMIT {BATCH_ROWS}
        ) AS batch;"""


def _write_transaction(table: str, ids: str, repair: str) -> str:
    """Write the transaction that locks and repairs the rows of the variable ``ids``."""
    return f"""\
        _disabled := pg_temp.disable_triggers('{table}');
        PERFORM
        FROM {table}
        WHERE id = ANY({ids})
        ORDER BY id
        FOR NO KEY UPDATE;
{_use_variables(repair)}
        INTO _undecided;
        PERFORM pg_temp.enable_triggers(_disabled);
        IF _undecided > 0 THEN
            RAISE EXCEPTION 'a writer has added values that need a decision';
        END IF;
        COMMIT;"""


def _write_statements(statements: tuple[Statement, ...]) -> Iterator[str]:
    """Write schema statements, each run of them after the lock timeout that it needs."""
    for concurrent, group in itertools.groupby(statements, lambda statement: statement.concurrent):
        # A concurrent statement waits for other transactions, but they do not wait for it.
        yield f"SET lock_timeout = {_NO_TIMEOUT if concurrent else _LOCK_TIMEOUT};"
        for statement in group:
            lint_exceptions = "".join(
                f"-- {reason}\n-- squawk-ignore {rule}\n"
                for rule, reason in statement.lint_exceptions.items()
            )
            yield f"{lint_exceptions}{statement.sql};"


def _write_version() -> str:
    """Write the statements that record the version, as Alembic does."""
    return f"""\
CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)
);
BEGIN;
DELETE FROM {VERSION_TABLE};
INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{newest_revision()}');
COMMIT;"""


def _use_variables(sql: str) -> str:
    """Indent an audit or a repair, and replace its parameters by variables."""
    sql = textwrap.indent(sql.strip(), " " * 8)
    return re.sub(r"CAST\(:(ids|rows|unreadable) AS", r"CAST(_\1 AS", sql)
