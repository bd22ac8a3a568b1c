"""What adoption makes of rows: repairs, refusals and the quarantine, compared with the oracle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from campaign_model import db
from campaign_model._json import canonical
from campaign_model.claims import MAX_ERROR
from campaign_model.db.adoption.functions import CREATE_FUNCTIONS
from campaign_model.store.types import FIRST_MOMENT, LAST_MOMENT
from campaign_model.wire import DEFAULT
from support import legacy, servers
from support.adoption import (
    BARE,
    EXTENDED,
    JSON,
    POSTGRESQL,
    SERVICE,
    DatabaseState,
    FindingText,
    LegacyDatabases,
    RowsById,
    adopt,
    assert_adopted,
    codes_besides_kept,
    describe_shape,
    execute,
    normalize,
    read_rows,
    read_with_store,
)
from support.adoption_oracle import Expected, decode, expect
from support.legacy import SHAPES, Shape
from support.legacy_rows import (
    SENT,
    STEPS,
    contact_id,
    draw_rows,
    encode,
    host_rows,
    list_faults,
    make_id,
    rows_with_faults,
    sample_rows,
)

BARE_SHAPES = tuple(shape for shape in SHAPES if not shape.extended)
EXTENDED_SHAPES = tuple(shape for shape in SHAPES if shape.extended)


@pytest.mark.parametrize("shapes", [BARE_SHAPES, EXTENDED_SHAPES], ids=["bare", "extended"])
# Each example is a whole database: few examples, and no search for a smaller one.
@settings(max_examples=2, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(data=st.data())
def test_an_adoption_repairs_every_row_and_loses_nothing(
    legacies: LegacyDatabases, shapes: tuple[Shape, ...], data: st.DataObject
) -> None:
    shape = data.draw(st.sampled_from(shapes))
    rows = {**host_rows(shape), **data.draw(draw_rows(shape))}
    expected = expect(rows)
    with legacies.database(shape) as engine:
        with engine.begin() as connection:
            legacy.fill(connection, rows)
        before = read_rows(engine)
        run = adopt(engine)
        assert_adopted(run, before, read_rows(engine), expected)
        assert read_with_store(engine) == {
            campaign_id: str(row["status"])
            for campaign_id, row in expected.rows["campaigns"].items()
        }
        assert_second_adoption_changes_nothing(engine)


def assert_second_adoption_changes_nothing(engine: sa.Engine) -> None:
    state = DatabaseState.read(engine)
    run = adopt(engine)
    assert (run.findings, run.report.added) == ((), ())
    assert DatabaseState.read(engine) == state


def test_a_dry_run_writes_nothing_and_finds_what_the_adoption_finds(
    legacies: LegacyDatabases,
) -> None:
    shape = Shape(service=True) if legacies.engine_name == POSTGRESQL[0] else SERVICE
    with legacies.database(shape, sample_rows) as engine:
        before = DatabaseState.read(engine)
        assert db.verify(engine).shape == ("extended" if shape.extended else "bare")
        dry = adopt(engine, dry_run=True)
        assert DatabaseState.read(engine) == before
        run = adopt(engine)
        assert sorted(map(str, dry.findings)) == sorted(map(str, run.findings))
        assert (dry.report.added, dry.report.repaired) == (run.report.added, run.report.repaired)
        assert dry.report.refused == {}
        assert_adopted(run, before.rows, read_rows(engine), expect(sample_rows(shape)))
        assert db.verify(engine) == db.Verdict("current", (), db.verify(engine).warnings)


@pytest.fixture(scope="module")
def connection_with_functions(databases: servers.Databases) -> Iterator[sa.Connection]:
    """A connection with the SQL functions of the repairs."""
    engine = sa.create_engine(databases.create(POSTGRESQL[0]))
    with engine.connect() as connection:
        for function in CREATE_FUNCTIONS:
            connection.exec_driver_sql(function.replace("%", "%%"))
        yield connection
    engine.dispose()


@given(steps=st.lists(st.sampled_from(STEPS), max_size=4), layers=st.integers(0, 3))
@settings(max_examples=50)
def test_the_database_fills_in_steps_like_the_codec(
    connection_with_functions: sa.Connection, steps: list[dict[str, Any]], layers: int
) -> None:
    stored = encode(steps, layers)
    decoded, filled = connection_with_functions.execute(
        sa.text(
            """
            SELECT
                CAST(decoded AS text),
                CAST(pg_temp.fill_steps(decoded) AS text)
            FROM pg_temp.decode_json(CAST(:stored AS jsonb)) AS decoded
            """
        ),
        {"stored": stored},
    ).one()
    assert json.loads(decoded) == steps
    recovered, filled_steps = DEFAULT.recover_template_config(filled), json.loads(filled)
    assert recovered.value == DEFAULT.recover_template_config(stored).value
    assert codes_besides_kept(recovered.repairs) <= {"renumbered"}
    # The fields that were there have not changed.
    assert [
        {name: filled_step[name] for name in step}
        for step, filled_step in zip(steps, filled_steps, strict=True)
    ] == steps


ODD_TIMES = {
    "infinity": LAST_MOMENT,
    "-infinity": FIRST_MOMENT,
    "0044-03-15 00:00+00 BC": FIRST_MOMENT,
    "12000-01-01 00:00+00": LAST_MOMENT,
}


@pytest.mark.parametrize("odd", ODD_TIMES)
def test_odd_times_and_long_errors_are_repaired(newest: LegacyDatabases, odd: str) -> None:
    times = {
        "campaigns": [
            *("created_at", "updated_at", "generation_started_at", "generation_completed_at")
        ],
        "campaign_contacts": ["added_at", "generated_at"],
        "campaign_templates": ["created_at", "updated_at"],
    }
    with newest.database(EXTENDED, sample_rows) as engine:
        execute(engine, "DROP TRIGGER campaigns_updated_at ON campaigns")
        execute(engine, "UPDATE campaign_contacts SET error = repeat('é', 501)")
        for table, columns in times.items():
            assignments = ", ".join(f"{column} = CAST(:odd AS timestamptz)" for column in columns)
            execute(engine, f"UPDATE {table} SET {assignments}", odd=odd)  # noqa: S608
        findings: list[db.Finding] = []
        db.adopt(engine, enforce=True, on_finding=findings.append)
        kinds = Counter(finding.kind for finding in findings)
        assert_second_adoption_changes_nothing(engine)
        assert kinds["bad_time"] > 0
        for table, columns in times.items():
            for column in columns:
                # A preset that is older than the library's becomes the library's.
                of_old_rows = "WHERE tenant_id IS NOT NULL"
                values = execute(engine, f"SELECT DISTINCT {column} FROM {table} {of_old_rows}")  # noqa: S608
                assert values == [(ODD_TIMES[odd],)], (table, column)
        errors = execute(engine, "SELECT count(*), max(error), min(error) FROM campaign_contacts")
        assert errors == [(kinds["shortened"], "é" * MAX_ERROR, "é" * MAX_ERROR)]


# Values that need a decision.


def refusals(findings: Iterable[FindingText]) -> set[tuple[str, str, str | None]]:
    return {
        (finding.table, finding.row_id, finding.column) for finding in findings if finding.undecided
    }


@pytest.mark.parametrize("shape", [BARE, EXTENDED, SERVICE], ids=describe_shape)
def test_values_that_need_a_decision_stop_the_adoption_before_any_change(
    legacies: LegacyDatabases, shape: Shape
) -> None:
    rows = rows_with_faults(shape, list_faults(shape))
    expected = expect(rows)
    assert len(expected.refused) == len(list_faults(shape))
    with legacies.database(shape) as engine:
        with engine.begin() as connection:
            legacy.fill(connection, rows)
        before = DatabaseState.read(engine)
        findings: list[FindingText] = []
        with pytest.raises(db.AdoptionRefused) as caught:
            db.adopt(
                engine,
                enforce=True,
                on_finding=lambda finding: findings.append(FindingText.of(finding)),
            )
        assert DatabaseState.read(engine) == before
        assert refusals(findings) == expected.refused
        report = caught.value.report
        assert sum(report.refused.values()) == len(expected.refused)
        dry = adopt(engine, dry_run=True)
        assert dry.findings == tuple(findings)
        assert attrs.evolve(dry.report, samples={}) == attrs.evolve(report, samples={})
        assert DatabaseState.read(engine) == before
        if shape.service:
            assert_rows_in_use_are_not_quarantined(engine, rows)
        else:
            assert_quarantined(engine, before.rows, expected)


def assert_rows_in_use_are_not_quarantined(engine: sa.Engine, rows: legacy.Rows) -> None:
    """Let other rows need every contact: then the quarantine cannot take a misplaced one."""
    with engine.begin() as connection:
        for number, row in enumerate(rows.get("campaign_contacts", ())):
            event = {"id": make_id("contact_events", number), "kind": "x"}
            event["campaign_contact_id"] = row["id"]
            legacy.fill(connection, {"contact_events": (event,)})
    before = DatabaseState.read(engine)
    with pytest.raises(db.AdoptionRefused) as caught:
        adopt(engine, quarantine=True)
    assert caught.value.report.refused == {"other_tenant_in_use": 1}
    assert DatabaseState.read(engine) == before


def assert_quarantined(engine: sa.Engine, before: RowsById, expected: Expected) -> None:
    """Adopt with the quarantine: it has every refused value, and the rest is as expected."""
    dry = adopt(engine, quarantine=True, dry_run=True)
    run = adopt(engine, quarantine=True)
    assert sorted(map(str, dry.findings)) == sorted(map(str, run.findings))
    after = read_rows(engine)
    quarantine = [*after["campaign_quarantine"].values()]

    # 1. The quarantine has the refused values, whole rows for misplaced contacts, and the columns
    # that referred to these.
    moved_rows = {row_id for _, row_id, column in expected.refused if column == "contact_id"}
    removed_references = {
        ("messages", message_id, "campaign_contact_id")
        for message_id, row in before["messages"].items()
        if row.get("campaign_contact_id") in moved_rows
    }
    assert {(row["table_name"], row["row_id"], row["column_name"]) for row in quarantine} == {
        *(
            (table, row_id, None if column == "contact_id" else column)
            for table, row_id, column in expected.refused
        ),
        *removed_references,
    }
    assert removed_references <= run.repairs.keys()

    # 2. It has every value, or every bad member of a document, as it was.
    for entry in quarantine:
        old_row = before[str(entry["table_name"])][str(entry["row_id"])]
        column, value = entry["column_name"], str(entry["value"])
        path = str(entry["path"]).strip("{}")
        if column is None:
            row = json.loads(value, parse_float=Decimal)
            assert {name: normalize(name, old) for name, old in old_row.items()}.items() <= {
                name: normalize(name, json.dumps(kept, default=float) if name in JSON else kept)
                for name, kept in row.items()
            }.items()
        elif path:
            member = decode(str(old_row[column]))
            for name in path.split(","):
                member = member[int(name) if isinstance(member, list) else name]
            assert canonical(member) == canonical(json.loads(value))
        else:
            kept = value if column in JSON else json.loads(value, parse_float=Decimal)
            assert normalize(column, kept) == normalize(column, old_row[column])

    # 3. The other rows are as expected: the oracle knows what is left of each document.
    before_without_moved = {
        table: {row_id: row for row_id, row in rows.items() if row_id not in moved_rows}
        for table, rows in before.items()
    }
    run_without_moved = attrs.evolve(
        run, findings=tuple(one for one in run.findings if one.row_id not in moved_rows)
    )
    assert_adopted(run_without_moved, before_without_moved, after, expected)
    read_with_store(engine)
    assert_second_adoption_changes_nothing(engine)


@pytest.mark.parametrize("quarantine", [False, True])
def test_a_value_that_a_writer_changes_after_the_audit_is_not_overwritten(
    oldest: LegacyDatabases, *, quarantine: bool
) -> None:
    with oldest.database(EXTENDED, sample_rows) as engine:
        statements_at_write: list[str] = []

        def write_once(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if "ADD COLUMN" in statement and not statements_at_write:
                statements_at_write.append(statement)
                execute(
                    engine,
                    "UPDATE campaigns SET template_config = '5' WHERE id = :id",
                    id=make_id("campaigns", 1),
                )

        sa.event.listen(engine, "before_cursor_execute", write_once)
        if quarantine:
            db.adopt(engine, enforce=True, quarantine=True)
            query = "SELECT value FROM campaign_quarantine WHERE column_name = 'template_config'"
        else:
            with pytest.raises(db.AdoptionRefused, match="1 x not_steps"):
                db.adopt(engine, enforce=True)
            query = "SELECT template_config FROM campaigns WHERE template_config = '5'"
        assert execute(engine, query) == [(5,)]


# Options.


def test_the_status_map_translates_unknown_words(oldest: LegacyDatabases) -> None:
    faults = [fault for fault in list_faults(EXTENDED) if fault.column == "status"]
    assert [fault.table for fault in faults] == ["campaigns"] * 3 + ["campaign_contacts"] * 3
    rows = rows_with_faults(EXTENDED, faults[:4])
    status_map = {"in_progress": "generating", "Draft": "draft", "": "archived"}
    expected = expect(rows, status_map=status_map)
    assert not expected.refused
    with oldest.database(EXTENDED) as engine:
        with engine.begin() as connection:
            legacy.fill(connection, rows)
        before = read_rows(engine)
        with pytest.raises(db.AdoptionRefused):
            adopt(engine, status_map={"Draft": "draft"})
        assert read_rows(engine) == before
        # A word that is a status keeps its meaning.
        run = adopt(engine, status_map={**status_map, "draft": "review"})
        assert_adopted(run, before, read_rows(engine), expected)
        assert run.report.repaired["status_mapped"] == 4


@pytest.mark.parametrize("word", ["50%", "a :ids", "it's", '"', "back\\slash"])
def test_the_status_map_translates_words_with_special_characters(
    newest: LegacyDatabases, word: str
) -> None:
    with newest.database(EXTENDED, sample_rows) as engine:
        campaign_id = make_id("campaigns", 1)
        update = "UPDATE campaigns SET status = :word WHERE id = :id"
        execute(engine, update, word=word, id=campaign_id)
        assert adopt(engine, status_map={word: "review"}).report.repaired["status_mapped"] == 1
        assert read_rows(engine)["campaigns"][campaign_id]["status"] == "review"


def test_the_status_rule_decides_what_campaigns_without_a_status_become(
    newest: LegacyDatabases,
) -> None:
    with newest.database(BARE, sample_rows) as engine:
        before = read_rows(engine)["campaigns"]
        with_sent_messages = {
            row["campaign_id"] for row in sample_rows(BARE)["messages"] if row["status"] in SENT
        }

        def expected_status(campaign_id: str) -> str:
            if before[campaign_id]["is_active"] == "false":
                return "archived"
            if campaign_id in with_sent_messages:
                return "approved"
            return "review" if before[campaign_id]["lemlist_campaign_id"] else "ready"

        expected = {campaign_id: expected_status(campaign_id) for campaign_id in before}
        assert {*expected.values()} == {"archived", "approved", "review", "ready"}
        rule = {"sent": "approved", "lemlist": "review", "otherwise": "ready"}
        run = adopt(engine, status_rule=rule)
        after = read_rows(engine)["campaigns"]
        assert {campaign_id: row["status"] for campaign_id, row in after.items()} == expected
        counts = Counter(expected.values())
        assert {
            kind: number for kind, number in run.report.repaired.items() if "status" in kind
        } == {
            "status_inactive": counts["archived"],
            "status_sent": counts["approved"],
            "status_lemlist": counts["review"],
            "status_otherwise": counts["ready"],
        }


def test_contacts_of_a_bare_database_are_created_from_its_messages(
    oldest: LegacyDatabases,
) -> None:
    expected = expect(sample_rows(BARE), contacts_from_messages=True)
    with oldest.database(BARE, sample_rows) as engine:
        before = DatabaseState.read(engine)
        dry = adopt(engine, contacts_from_messages=True, dry_run=True)
        assert DatabaseState.read(engine) == before
        run = adopt(engine, contacts_from_messages=True)
        after = read_rows(engine)
        assert_adopted(run, before.rows, after, expected)
        assert sorted(map(str, dry.findings)) == sorted(map(str, run.findings))
        contacts = {
            f"{row['campaign_id']}/{row['contact_id']}": row
            for row in after["campaign_contacts"].values()
        }
        assert len(contacts) == len(after["campaign_contacts"])
        assert contacts.keys() == expected.message_contacts.keys()
        for key, contact in expected.message_contacts.items():
            for name, value in contact.items():
                assert normalize(name, contacts[key][name]) == normalize(name, value), (key, name)
        read_with_store(engine)
        # A campaign that has contacts gets no more from its messages.
        assert adopt(engine, contacts_from_messages=True).findings == ()


def change_type_of_contact_id(engine: sa.Engine, type_: str, value: str) -> None:
    """Give messages a ``contact_id`` of another type, computed from the present one."""
    keys = (
        "SELECT conname FROM pg_constraint WHERE conrelid = 'messages'::regclass AND contype = 'f'"
    )
    with engine.begin() as connection:
        for name in connection.scalars(sa.text(keys)).all():
            connection.exec_driver_sql(f'ALTER TABLE messages DROP CONSTRAINT "{name}"')
        change = f"ALTER TABLE messages ALTER contact_id TYPE {type_} USING {value}"
        connection.exec_driver_sql(change)


@pytest.mark.parametrize("type_", ["text", "varchar(36)"])
def test_contacts_are_created_from_messages_that_name_them_in_text(
    newest: LegacyDatabases, type_: str
) -> None:
    expected = expect(sample_rows(BARE), contacts_from_messages=True)
    with newest.database(BARE, sample_rows) as engine:
        change_type_of_contact_id(engine, type_, "upper(contact_id::text)")
        adopt(engine, contacts_from_messages=True)
        contacts = read_rows(engine)["campaign_contacts"].values()
        found = {f"{row['campaign_id']}/{row['contact_id']}" for row in contacts}
        assert found == expected.message_contacts.keys()


def test_contacts_cannot_be_created_from_messages_that_name_them_by_numbers(
    newest: LegacyDatabases,
) -> None:
    with newest.database(BARE, sample_rows) as engine:
        change_type_of_contact_id(engine, "bigint", "1")
        before = DatabaseState.read(engine)
        with pytest.raises(db.SetupError, match="needs a column contact_id"):
            adopt(engine, contacts_from_messages=True)
        assert DatabaseState.read(engine) == before
        adopt(engine)


def test_a_message_to_another_tenants_contact_is_refused_if_contacts_come_from_messages(
    newest: LegacyDatabases,
) -> None:
    with newest.database(BARE, sample_rows) as engine:
        update = "UPDATE messages SET contact_id = :contact WHERE id = :id"
        execute(engine, update, contact=contact_id(2, 1), id=make_id("messages", 1))
        before = DatabaseState.read(engine)
        with pytest.raises(db.AdoptionRefused) as caught:
            adopt(engine, contacts_from_messages=True)
        assert caught.value.report.refused == {"other_tenant": 1}
        assert DatabaseState.read(engine) == before
        assert not adopt(engine).report.refused


# Constraints of the host.


def test_a_constraint_of_the_host_that_prevents_the_adoption_is_named(
    newest: LegacyDatabases,
) -> None:
    with newest.database(EXTENDED, sample_rows) as engine:
        execute(engine, "UPDATE campaigns SET status = NULL")
        execute(engine, "ALTER TABLE campaigns ADD CONSTRAINT own CHECK (status = name) NOT VALID")
        dry = adopt(engine, dry_run=True)
        assert any("the constraint own on campaigns" in warning for warning in dry.report.warnings)
        with pytest.raises(db.SetupError, match='violates check constraint "own"') as caught:
            adopt(engine)
        assert "\n" not in str(caught.value)
        execute(engine, "ALTER TABLE campaigns DROP CONSTRAINT own")
        adopt(engine)
        assert db.verify(engine).shape == "current"
