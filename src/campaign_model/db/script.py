"""An adoption as plain SQL, for those who apply migrations with psql."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from campaign_model.db import revisions
from campaign_model.db.plan import Plan, Statement
from campaign_model.db.repairs import Repairs
from campaign_model.db.rules import FUNCTIONS
from campaign_model.db.system_templates import preset_insert

__all__ = ["script"]

_HEAD = """\
-- Brings a database {what} to the schema of campaign-model, revision {revision}.
--
--   psql -X -v ON_ERROR_STOP=1 -f FILE
--
-- It is no single transaction: indexes are built, and rows put right, beside readers and writers.
-- First it looks at every row, and ends before any change if one needs a decision. What only the
-- library can judge (documents within documents, numbers that no double holds) it does not see:
-- campaign-model db adopt --dry-run  does. Whatever interrupts it,  campaign-model db adopt  or
-- campaign-model db sql --url  goes on from there.

{exceptions}

\\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET statement_timeout = 0;
SET row_security = off;
SET lock_timeout = {timeout};
DO $$
BEGIN
    IF NOT pg_try_advisory_lock({lock}) THEN
        RAISE EXCEPTION 'another adoption of this database is at work';
    END IF;
END
$$;"""

_EXCEPTIONS = {
    "prefer-robust-stmts": "it ends at the first error, and db sql --url prints the rest",
    "prefer-bigint-over-int": "as databases have it; to widen it would rewrite the table",
    "prefer-bigint-over-smallint": "a number of shards is small",
    "prefer-text-field": "Alembic makes its table so",
    "require-statement-timeout": "building an index takes as long as it takes, beside others",
    "renaming-object": "constraints, which only migrations name",
}
"""Rules of the linter squawk that do not apply, and why."""

_LOCK_TIMEOUT, _NO_TIMEOUT = "'5s'", "0"
_BATCH = 1_000
_BATCH_CONTACTS = 20_000

_AUDIT = """\
DO $audit$
DECLARE
    _ids uuid[];
    _unreadable text[] := '{{}}';
    _last uuid;
    _finding record;
    _undecided bigint := 0;
BEGIN
    LOOP
        SELECT array_agg(id ORDER BY id) INTO _ids FROM (
            SELECT id FROM {table} WHERE _last IS NULL OR id > _last ORDER BY id LIMIT {batch}
        ) AS batch;
        EXIT WHEN _ids IS NULL;
        FOR _finding IN SELECT * FROM (
{findings}
        ) AS found (table_name, id, column_name, kind, before, after, undecided) WHERE undecided
        LOOP
            _undecided := _undecided + 1;
            RAISE WARNING '%.% of %: % (%)', _finding.table_name, _finding.column_name,
                _finding.id, _finding.kind, _finding.before;
        END LOOP;
        _last := _ids[cardinality(_ids)];
    END LOOP;
    IF _undecided > 0 THEN
        RAISE EXCEPTION 'values that need a decision: %; nothing was changed', _undecided;
    END IF;
END
$audit$;"""

_REPAIR = """\
CREATE OR REPLACE PROCEDURE pg_temp.repair_{table}() LANGUAGE plpgsql AS
$repair$
DECLARE
    _ids uuid[];
    _rows uuid[];
    _unreadable text[] := '{{}}';
    _last uuid;
    _undecided bigint;
    _muted text[];
BEGIN
    LOOP
        SELECT array_agg(id ORDER BY id) INTO _ids FROM (
            SELECT id FROM {table}
            WHERE (_last IS NULL OR id > _last) AND {unfinished}
            ORDER BY id LIMIT {batch}
        ) AS batch;
        EXIT WHEN _ids IS NULL;
{contacts}        _muted := pg_temp.mute('{table}');
        PERFORM FROM {table} WHERE id = ANY(_ids) ORDER BY id FOR NO KEY UPDATE;
{repair};
        PERFORM pg_temp.unmute(_muted);
        IF _undecided > 0 THEN
            RAISE EXCEPTION 'a writer has brought in values that need a decision';
        END IF;
        COMMIT;
        _last := _ids[cardinality(_ids)];
    END LOOP;
END
$repair$;"""

_REPAIR_CONTACTS = """\
        LOOP
            SELECT array_agg(id) INTO _rows FROM (
                SELECT id FROM campaign_contacts
                WHERE campaign_id = ANY(_ids) AND {unfinished}
                ORDER BY campaign_id, id LIMIT {batch}
            ) AS batch;
            EXIT WHEN _rows IS NULL;
            _muted := pg_temp.mute('campaign_contacts');
            PERFORM FROM campaign_contacts WHERE id = ANY(_rows) ORDER BY id FOR NO KEY UPDATE;
{repair};
            PERFORM pg_temp.unmute(_muted);
            IF _undecided > 0 THEN
                RAISE EXCEPTION 'a writer has brought in values that need a decision';
            END IF;
            COMMIT;
        END LOOP;
"""

_VERSION = """\
CREATE TABLE IF NOT EXISTS {table} (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT {table}_pkc PRIMARY KEY (version_num)
);
BEGIN;
DELETE FROM {table};
INSERT INTO {table} (version_num) VALUES ('{revision}');
COMMIT;"""


def script(what: str, plan: Plan, before: Repairs, after: Repairs) -> str:
    """All of it: ``before`` builds its SQL for the tables as they are, ``after`` for the full ones.

    ``what`` says in words which database it is for.
    """
    revision = revisions.known()[0]
    findings = {
        "campaign_templates": before.template_findings,
        "campaigns": before.campaign_findings,
    }
    has_rows = [table for table in findings if table in before.present]
    calls = (
        f"SET lock_timeout = {_NO_TIMEOUT};",
        *(f"CALL pg_temp.repair_{table}();" for table in findings),
    )
    parts = (
        _HEAD.format(
            what=what,
            revision=revision,
            lock=revisions.LOCK,
            timeout=_LOCK_TIMEOUT,
            exceptions="\n".join(
                f"-- {why}\n-- squawk-ignore-file {rule}" for rule, why in _EXCEPTIONS.items()
            ),
        ),
        *(f"{function};" for function in FUNCTIONS),
        *(
            _AUDIT.format(table=table, batch=_BATCH, findings=_variables(findings[table]()))
            for table in has_rows
        ),
        *_statements(plan.expand),
        *(_repairs(after) if has_rows else ()),
        *(calls if has_rows else ()),
        *_statements(plan.guard),
        *(calls if has_rows else ()),
        *_statements(plan.validate),
        f"{preset_insert()};",
        _VERSION.format(table=revisions.VERSION_TABLE, revision=revision),
        f"DO $$ BEGIN PERFORM pg_advisory_unlock({revisions.LOCK}); END $$;",
    )
    return "\n\n".join(parts) + "\n"


def _statements(statements: tuple[Statement, ...]) -> Iterator[str]:
    for concurrent, several in itertools.groupby(statements, lambda one: one.concurrent):
        # Who builds an index beside others waits for them to end.
        yield f"SET lock_timeout = {_NO_TIMEOUT if concurrent else _LOCK_TIMEOUT};"
        for statement in several:
            reasons = (
                f"-- {why}\n-- squawk-ignore {rule}\n" for rule, why in statement.why.items()
            )
            yield f"{''.join(reasons)}{statement.sql};"


def _repairs(repairs: Repairs) -> Iterator[str]:
    contacts = _REPAIR_CONTACTS.format(
        unfinished=repairs.unfinished("campaign_contacts"),
        batch=_BATCH_CONTACTS,
        repair=_counting(repairs.repair_contacts()),
    )
    for table, repair, before in (
        ("campaign_templates", repairs.repair_templates(), ""),
        ("campaigns", repairs.repair_campaigns(), contacts),
    ):
        yield _REPAIR.format(
            table=table,
            unfinished=repairs.unfinished(table),
            batch=_BATCH,
            contacts=before,
            repair=_counting(repair),
        )


def _counting(statement: str) -> str:
    changes, count, rest = statement.rpartition("\nSELECT count(*) ")
    return _variables(f"{changes}{count}INTO _undecided {rest}")


def _variables(statement: str) -> str:
    for name in ("ids", "rows", "unreadable"):
        statement = statement.replace(f"@{name}@", f"_{name}")
    return statement
