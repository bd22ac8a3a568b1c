"""Adoption of tables that lack optional columns, or whose messages keep what was sent elsewhere."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from campaign_model import db
from campaign_model.db.adoption.inspection import LEGACY_COLUMNS
from support.adoption import (
    BARE,
    EXTENDED,
    SERVICE,
    DatabaseState,
    LegacyDatabases,
    adopt,
    changed_values,
    execute,
    read_rows,
    read_with_store,
)
from support.legacy import Shape
from support.legacy_rows import make_id, sample_rows
from support.psql import assert_same_after_sync, run_script

SHAPES = (BARE, EXTENDED, SERVICE)
MESSAGES = {"messages": ("id", "tenant_id")}
"""The column of messages that identifies a row, and one that the rows keep."""


def optional_columns(engine: sa.Engine) -> list[tuple[str, str]]:
    """List the columns that adoption does not require: of legacy tables and of messages."""
    inspector = sa.inspect(engine)
    return [
        (table, column["name"])
        for table, required in {**LEGACY_COLUMNS, **MESSAGES}.items()
        if inspector.has_table(table)
        for column in inspector.get_columns(table)
        if column["name"] not in required
    ]


def drop_columns(engine: sa.Engine, columns: set[tuple[str, str]]) -> None:
    with engine.begin() as connection:
        # The trigger of campaigns sets this column.
        if ("campaigns", "updated_at") in columns:
            connection.exec_driver_sql("DROP TRIGGER campaigns_updated_at ON campaigns")
        for table, column in sorted(columns):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column} CASCADE")


@pytest.mark.parametrize("shape", SHAPES, ids=["bare", "extended", "service"])
@settings(max_examples=2, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(data=st.data())
def test_any_optional_column_may_be_absent(
    legacies: LegacyDatabases,
    shape: Shape,
    data: st.DataObject,
) -> None:
    with legacies.database(shape, sample_rows) as engine:
        optional = optional_columns(engine)
        removed = data.draw(st.sets(st.sampled_from(optional)) | st.just({*optional}))
        drop_columns(engine, removed)
        before = read_rows(engine)
        run = adopt(engine)
        after = read_rows(engine)
        assert changed_values(before, after).keys() <= run.repairs.keys()
        read_with_store(engine)
        assert db.verify(engine).shape == "current"
        expected = DatabaseState.read(engine)
    with legacies.database(shape, sample_rows) as engine:
        drop_columns(engine, removed)
        run_script(legacies, engine, db.sql(engine, enforce=True))
        assert_same_after_sync(engine, expected)


SENT_CAMPAIGN, CONTACT = make_id("campaigns", 1), make_id("campaign_contacts", 1)
REFER_BY_CONTACT = f"UPDATE messages SET campaign_id = NULL, campaign_contact_id = '{CONTACT}'"  # noqa: S608
SENT_BY_TIME = "UPDATE messages SET status = 'draft', sent_at = '2024-01-01'"
TEXT_STATUS = "ALTER TABLE messages ALTER COLUMN status TYPE text"

SENT_MESSAGES: dict[str, tuple[str, ...]] = {
    "campaign and status": (),
    "contact and status": (REFER_BY_CONTACT,),
    "contact in the only reference": (
        REFER_BY_CONTACT,
        "ALTER TABLE messages DROP COLUMN campaign_id",
    ),
    "campaign in the only reference": ("ALTER TABLE messages DROP COLUMN campaign_contact_id",),
    "campaign and time": (SENT_BY_TIME,),
    "contact and time": (REFER_BY_CONTACT, SENT_BY_TIME),
    "time and no status": (SENT_BY_TIME, "ALTER TABLE messages DROP COLUMN status"),
    "status and no time": ("ALTER TABLE messages DROP COLUMN sent_at",),
    "another case": (TEXT_STATUS, "UPDATE messages SET status = 'Sent'"),
    "opened": (TEXT_STATUS, "UPDATE messages SET status = 'opened'"),
    "numbers as ids": (
        "ALTER TABLE messages DROP COLUMN id",
        "ALTER TABLE messages ADD COLUMN id bigserial PRIMARY KEY",
        REFER_BY_CONTACT,
    ),
    "numbers as contacts": (
        "ALTER TABLE messages DROP COLUMN contact_id",
        "ALTER TABLE messages ADD COLUMN contact_id bigint",
    ),
    "text as the other reference": (
        REFER_BY_CONTACT,
        "ALTER TABLE messages DROP CONSTRAINT messages_campaign_id_fkey",
        "ALTER TABLE messages ALTER COLUMN campaign_id TYPE text",
    ),
    "another table": ("ALTER TABLE messages RENAME TO letters",),
}
"""Where a service keeps that a message was sent, and the statements that change it to that."""


@pytest.mark.parametrize("changes", SENT_MESSAGES.values(), ids=SENT_MESSAGES)
def test_a_campaign_was_sent_wherever_its_messages_say_so(
    newest: LegacyDatabases, changes: tuple[str, ...]
) -> None:
    with newest.database(EXTENDED, sample_rows) as engine:
        for statement in (
            "UPDATE campaigns SET status = NULL, is_active = true, lemlist_campaign_id = NULL",
            f"DELETE FROM messages WHERE campaign_id <> '{SENT_CAMPAIGN}'",  # noqa: S608
            "UPDATE messages SET status = 'sent'",
            *changes,
        ):
            execute(engine, statement)
        adopt(engine, messages="letters" if changes and "letters" in changes[0] else "messages")
        exported = execute(engine, "SELECT id FROM campaigns WHERE status = 'exported'")
        assert [str(campaign_id) for (campaign_id,) in exported] == [SENT_CAMPAIGN]


def test_a_named_table_of_messages_must_exist(newest: LegacyDatabases) -> None:
    with newest.database(EXTENDED, sample_rows) as engine:
        before = DatabaseState.read(engine)
        for call in (adopt, db.sql):
            with pytest.raises(db.SetupError, match="there is no table letters"):
                call(engine, messages="letters")
        assert db.verify(engine, messages="letters").pending[0].startswith("there is no table")
        assert DatabaseState.read(engine) == before


@pytest.mark.parametrize("column", ["campaign_id", "status", None])
def test_verify_warns_if_messages_do_not_say_what_was_sent(
    newest: LegacyDatabases, column: str | None
) -> None:
    words = "count as never sent"
    with newest.database(BARE) as engine:
        assert not any(words in warning for warning in db.verify(engine).warnings)
        if column is None:
            execute(engine, "DROP TABLE messages")
        else:
            execute(engine, f"ALTER TABLE messages DROP COLUMN {column}")
            execute(engine, "ALTER TABLE messages DROP COLUMN sent_at")
        (warning,) = (one for one in db.verify(engine).warnings if words in one)
        assert ("there is no table messages" in warning) == (column is None)
        assert ("messages lacks columns" in warning) == (column is not None)


def test_columns_of_the_librarys_names_with_nulls_and_bad_amounts_are_repaired(
    newest: LegacyDatabases,
) -> None:
    columns = {
        "campaigns": ("clone_count", "finished_before_start", "next_position"),
        "campaign_contacts": ("attempts", "revision", "unknown_costs"),
    }
    with newest.database(EXTENDED, sample_rows) as engine:
        for table, names in columns.items():
            for name in names:
                execute(engine, f"ALTER TABLE {table} ADD COLUMN {name} bigint")
        execute(engine, "ALTER TABLE campaign_contacts ADD COLUMN reported_tokens jsonb")
        execute(engine, "ALTER TABLE campaign_contacts ADD COLUMN reserved numeric")
        update = "UPDATE campaign_contacts SET reserved = -1 WHERE id = :id"
        execute(engine, update, id=make_id("campaign_contacts", 1))
        with pytest.raises(db.AdoptionRefused) as refused:
            adopt(engine)
        assert refused.value.report.refused == {"bad_amount": 1}
        assert adopt(engine, quarantine=True).report.quarantined == {"bad_amount": 1}
        assert db.verify(engine).shape == "current"
        read_with_store(engine)
