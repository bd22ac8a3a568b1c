"""What adoption makes of legacy databases on PostgreSQL, held against an oracle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from campaign_model import db
from campaign_model.store import CampaignStore, transact
from support import legacy, legacy_data
from support.adoption import (
    JSON,
    POSTGRESQL,
    Contents,
    Found,
    Legacies,
    Run,
    State,
    adopt,
    contents,
    differences,
    found,
    value_of,
)
from support.legacy import SHAPES, Shape
from support.legacy_data import SENT, Expected, broken, expected, faults, host, sample, uid

BARE = tuple(shape for shape in SHAPES if not shape.extended)
EXTENDED = tuple(shape for shape in SHAPES if shape.extended)
PLAIN = Shape(extended=True)
SERVICE = Shape(extended=True, service=True)


def names(shape: Shape) -> str:
    """A shape's name in the name of a test."""
    words = ["extended" if shape.extended else "bare"]
    words += [word for word in ("tags", "service") if getattr(shape, word)]
    return "-".join(words)


def check(run: Run, before: Contents, after: Contents, wanted: Expected) -> None:
    """Hold what came out against the oracle, and the findings against what changed."""
    for table, rows in wanted.rows.items():
        assert {*after.get(table, {})} >= {*rows}
        for id_, row in rows.items():
            found = after[table][id_]
            spelled = {name: spelling(name, value) for name, value in row.items()}
            assert {name: value_of(name, found[name]) for name in row} == spelled, (table, id_)
    changed = differences(before, after)
    # A finding may be about a column, or a row, that was not there before.
    told = {
        (table, id_, column): values
        for (table, id_, column), values in run.repairs.items()
        # To a finding, JSON's null is as NULL.
        if column in before.get(table, {}).get(id_, {}) and values != (None, None)
    }
    assert told == changed
    for (table, id_, column), (old, new) in changed.items():
        if column.endswith("_at"):
            # Only where there was none, and then that of its pair.
            pairs = {"created_at": "updated_at", "updated_at": "created_at"}
            twin = pairs.get(column, "generated_at")
            other = value_of(twin, before[table][id_].get(twin))
            assert (old, new) == (None, other or "now"), (table, id_, column)
    for key, (_, final) in run.repairs.items():
        name, row_id, changed_column = key
        if changed_column is not None:
            kept = after[name][row_id][changed_column]
            assert value_of(changed_column, kept) == final, key


def spelling(column: str, value: Any) -> str | None:
    """A value of the oracle's as :func:`value_of` spells it."""
    return value_of(column, json.dumps(value) if column in JSON else value)


def read_everything(engine: sa.Engine) -> dict[str, str]:
    """Have the store read every campaign, with its history and its contacts; statuses by id."""
    found = {}

    def read(store: CampaignStore) -> None:
        for summary in store.campaigns.list(deleted=True, limit=500).items:
            campaign = store.campaigns.get(summary.id)
            # A step's number says where it once stood; where it stands now is read anyway.
            assert {repair.code for repair in campaign.repairs} <= {"renumbered"}
            history = store.campaigns.history(campaign.id)
            # One that was inserted while the adoption went on has no history before it.
            assert [entry.action for entry in history] in ([], ["adopted"])
            contacts = store.contacts.list(campaign.id).items
            progress = store.generation.progress(campaign.id)
            assert progress.total == sum(one.status != "excluded" for one in contacts)
            assert progress.spent == sum(one.cost for one in contacts)
            assert progress.spent == summary.generation_cost
            found[str(campaign.id)] = str(campaign.status)
        for template in store.templates.list():
            assert store.templates.get(template.id) == template

    with engine.begin() as connection:
        tenants = [UUID(str(one)) for one in connection.scalars(sa.text("SELECT id FROM tenants"))]
    for tenant in tenants:
        transact(engine, tenant, read)
    return found


@pytest.mark.parametrize("shapes", [BARE, EXTENDED], ids=["bare", "extended"])
# Each is a whole database: few, and no smaller one is looked for when one fails.
@settings(max_examples=2, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(data=st.data())
def test_nothing_is_lost_and_everything_is_in_order(
    legacies: Legacies, shapes: tuple[Shape, ...], data: st.DataObject
) -> None:
    shape = data.draw(st.sampled_from(shapes))
    rows = {**host(shape), **data.draw(legacy_data.databases(shape))}
    wanted = expected(rows)
    with legacies.database(shape) as engine:
        with engine.begin() as connection:
            legacy.fill(connection, rows)
        before = contents(engine)
        run = adopt(engine)
        after = contents(engine)
        check(run, before, after, wanted)
        assert read_everything(engine) == {
            id_: str(row["status"]) for id_, row in wanted.rows["campaigns"].items()
        }
        state = State.of(engine)
        again = adopt(engine)
        assert (again.findings, again.report.added) == ((), ())
        assert State.of(engine) == state


def test_a_dry_run_writes_nothing_and_tells_what_the_real_one_does(legacies: Legacies) -> None:
    shape = Shape(service=True) if legacies.engine_name == POSTGRESQL[0] else SERVICE
    with legacies.database(shape, sample) as engine:
        before = State.of(engine)
        assert db.verify(engine).shape == ("extended" if shape.extended else "bare")
        dry = adopt(engine, dry_run=True)
        assert State.of(engine) == before
        run = adopt(engine)
        assert sorted(map(str, dry.findings)) == sorted(map(str, run.findings))
        assert (dry.report.added, dry.report.repaired) == (run.report.added, run.report.repaired)
        assert dry.report.refused == {}
        check(run, before.contents, contents(engine), expected(sample(shape)))
        assert db.verify(engine) == db.Verdict("current", (), db.verify(engine).warnings)


# What needs a decision.


def refusals(findings: Iterable[Found]) -> set[tuple[str, str, str | None]]:
    return {(one.table, one.id, one.column) for one in findings if one.undecided}


@pytest.mark.parametrize("shape", [Shape(), PLAIN, SERVICE], ids=names)
def test_what_needs_a_decision_stops_it_before_any_change(legacies: Legacies, shape: Shape) -> None:
    rows = broken(shape, faults(shape))
    wanted = expected(rows)
    assert len(wanted.refused) == len(faults(shape))
    with legacies.database(shape) as engine:
        with engine.begin() as connection:
            legacy.fill(connection, rows)
        before = State.of(engine)
        findings: list[Found] = []
        with pytest.raises(db.AdoptionRefused) as caught:
            db.adopt(engine, on_finding=lambda one: findings.append(found(one)))
        assert State.of(engine) == before
        assert refusals(findings) == wanted.refused
        report = caught.value.report
        assert sum(report.refused.values()) == len(wanted.refused)
        dry = adopt(engine, dry_run=True)
        assert dry.findings == tuple(findings)
        assert attrs.evolve(dry.report, samples={}) == attrs.evolve(report, samples={})
        assert State.of(engine) == before
        if not shape.service:
            check_quarantine(engine, before.contents, wanted)
            return
        # A row that others must refer to cannot be moved aside.
        with engine.begin() as connection:
            for number, row in enumerate(rows.get("campaign_contacts", ())):
                event = {"id": uid("contact_events", number), "kind": "x"}
                event["campaign_contact_id"] = row["id"]
                legacy.fill(connection, {"contact_events": (event,)})
        before = State.of(engine)
        with pytest.raises(db.AdoptionRefused) as caught:
            adopt(engine, quarantine=True)
        assert caught.value.report.refused == {"other_tenant_in_use": 1}
        assert State.of(engine) == before


def check_quarantine(engine: sa.Engine, before: Contents, wanted: Expected) -> None:
    """Adopt with a quarantine: every refused value is in there, and all else is as ever."""
    run = adopt(engine, quarantine=True)
    after = contents(engine)
    aside = {
        (str(row["table_name"]), str(row["row_id"]), row["column_name"]): str(row["value"])
        for row in after["campaign_quarantine"].values()
    }
    moved = {id_ for table, id_, column in wanted.refused if column == "contact_id"}
    referring = {
        id_ for id_, row in before["messages"].items() if row.get("campaign_contact_id") in moved
    }
    assert aside.keys() == {
        *(
            (table, id_, None if column == "contact_id" else column)
            for table, id_, column in wanted.refused
        ),
        *(("messages", id_, "campaign_contact_id") for id_ in referring),
    }
    for (table, id_, column), value in aside.items():
        assert value is not None
        if column is None:
            # A whole row: it says everything that the row said.
            row = json.loads(value, parse_float=Decimal)
            assert {
                name: value_of(name, said) for name, said in before[table][id_].items()
            }.items() <= {
                name: value_of(name, json.dumps(said, default=float) if name in JSON else said)
                for name, said in row.items()
            }.items()
        else:
            old = value_of(column, before[table][id_][column])
            said = value if column in JSON else json.loads(value, parse_float=Decimal)
            assert value_of(column, said) == old
    kept = {
        table: {id_: row for id_, row in rows.items() if id_ not in moved}
        for table, rows in before.items()
    }
    for id_ in referring:
        assert after["messages"][id_]["campaign_contact_id"] is None
        kept["messages"][id_] = {**kept["messages"][id_], "campaign_contact_id": None}
    without = attrs.evolve(run, findings=tuple(one for one in run.findings if one.id not in moved))
    check(without, kept, after, wanted)
    read_everything(engine)
    state = State.of(engine)
    again = adopt(engine)
    assert (again.findings, again.report.added) == ((), ())
    assert State.of(engine) == state


def test_unknown_words_become_what_they_are_mapped_to(oldest: Legacies) -> None:
    words = [one for one in faults(PLAIN) if one.column == "status"]
    assert [one.table for one in words] == ["campaigns"] * 3 + ["campaign_contacts"] * 3
    rows = broken(PLAIN, words[:4])
    status_map = {"in_progress": "generating", "Draft": "draft", "": "archived", "draft": "review"}
    wanted = expected(rows, status_map={**status_map, "draft": "draft"})
    assert not wanted.refused
    with oldest.database(PLAIN) as engine:
        with engine.begin() as connection:
            legacy.fill(connection, rows)
        before = contents(engine)
        with pytest.raises(db.AdoptionRefused):
            adopt(engine, status_map={"Draft": "draft"})
        assert contents(engine) == before
        run = adopt(engine, status_map=status_map)
        check(run, before, contents(engine), wanted)
        assert run.report.repaired["status_mapped"] == 4


def test_the_rule_for_campaigns_without_a_status_can_be_changed(newest: Legacies) -> None:
    with newest.database(Shape(), sample) as engine:
        before = contents(engine)["campaigns"]
        sent = {row["campaign_id"] for row in sample(Shape())["messages"] if row["status"] in SENT}
        wanted = {
            id_: "archived"
            if row["is_active"] == "false"
            else "approved"
            if id_ in sent
            else "review"
            if row["lemlist_campaign_id"]
            else "ready"
            for id_, row in before.items()
        }
        assert {*wanted.values()} == {"archived", "approved", "review", "ready"}
        rule = {"sent": "approved", "lemlist": "review", "otherwise": "ready"}
        run = adopt(engine, status_rule=rule)
        found = {id_: row["status"] for id_, row in contents(engine)["campaigns"].items()}
        assert found == wanted
        counts = Counter(wanted.values())
        assert {
            kind: run.report.repaired[kind] for kind in run.report.repaired if "status" in kind
        } == {
            "status_inactive": counts["archived"],
            "status_sent": counts["approved"],
            "status_lemlist": counts["review"],
            "status_otherwise": counts["ready"],
        }


def test_contacts_of_a_bare_database_come_from_its_messages(oldest: Legacies) -> None:
    rows = dict(sample(Shape()))
    wanted = expected(rows, contacts_from_messages=True)
    with oldest.database(Shape(), sample) as engine:
        before = State.of(engine)
        dry = adopt(engine, contacts_from_messages=True, dry_run=True)
        assert State.of(engine) == before
        run = adopt(engine, contacts_from_messages=True)
        after = contents(engine)
        check(run, before.contents, after, wanted)
        assert sorted(map(str, dry.findings)) == sorted(map(str, run.findings))
        made = {
            f"{row['campaign_id']}/{row['contact_id']}": row
            for row in after["campaign_contacts"].values()
        }
        assert len(made) == len(after["campaign_contacts"])
        assert {
            key: {name: value_of(name, row[name]) for name in wanted.written[key]}
            for key, row in made.items()
        } == {
            key: {name: value_of(name, value) for name, value in row.items()}
            for key, row in wanted.written.items()
        }
        read_everything(engine)
        # Another time there is nothing to do, though messages know more by then.
        assert adopt(engine, contacts_from_messages=True).findings == ()


def test_another_tenants_contact_in_a_message_is_refused_if_contacts_come_from_messages(
    newest: Legacies,
) -> None:
    with newest.database(Shape(), sample) as engine:
        with engine.begin() as connection:
            message, contact = uid("messages", 1), uid("contacts", 2 * 100 + 1)
            connection.exec_driver_sql(
                f"UPDATE messages SET contact_id = '{contact}' WHERE id = '{message}'"  # noqa: S608
            )
        before = State.of(engine)
        with pytest.raises(db.AdoptionRefused) as caught:
            adopt(engine, contacts_from_messages=True)
        assert caught.value.report.refused == {"other_tenant": 1}
        assert State.of(engine) == before
        assert not adopt(engine).report.refused


def test_a_rule_of_the_hosts_own_that_stands_against_it_is_told(newest: Legacies) -> None:
    with newest.database(PLAIN, sample) as engine:
        with engine.begin() as connection:
            for statement in (
                "UPDATE campaigns SET status = 'ready'",
                "ALTER TABLE campaigns ADD CHECK (status IN ('ready', 'started'))",
            ):
                connection.exec_driver_sql(statement)
        with pytest.raises(db.SetupError, match="campaigns_status_check") as caught:
            adopt(engine)
        assert "\n" not in str(caught.value)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "ALTER TABLE campaigns DROP CONSTRAINT campaigns_status_check"
            )
        adopt(engine)
        assert db.verify(engine).shape == "current"
