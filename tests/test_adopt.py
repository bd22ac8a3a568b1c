"""What adoption makes of legacy databases on PostgreSQL, held against an oracle."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import legacy
import legacy_data
import servers
from adoption import (
    JSON,
    Contents,
    Legacies,
    Run,
    State,
    adopt,
    contents,
    differences,
    value_of,
)
from campaign_model import db
from campaign_model.store import CampaignStore, transact
from legacy import SHAPES, Shape
from legacy_data import Expected, expected, host, sample

POSTGRESQL = tuple(name for name in servers.available() if name != "sqlite")
BARE = tuple(shape for shape in SHAPES if not shape.extended)
EXTENDED = tuple(shape for shape in SHAPES if shape.extended)
PLAIN = Shape(extended=True)
SERVICE = Shape(extended=True, service=True)


@pytest.fixture(scope="module", params=POSTGRESQL)
def legacies(request: pytest.FixtureRequest, databases: servers.Databases) -> Legacies:
    return Legacies(databases, request.param)


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
    for key, (_, now) in run.repairs.items():
        table, id_, column = key
        assert column is not None
        assert value_of(column, after[table][id_][column]) == now, key


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
            assert [entry.action for entry in history] == ["adopted"]
            contacts = store.contacts.list(campaign.id).items
            progress = store.generation.progress(campaign.id)
            assert progress.total == sum(one.status != "excluded" for one in contacts)
            assert progress.spent == sum(one.cost for one in contacts)
            assert progress.spent == summary.generation_cost
            found[str(campaign.id)] = str(campaign.status)
        for template in store.templates.list():
            assert store.templates.get(template.id) == template

    with engine.begin() as connection:
        tenants = [*connection.scalars(sa.text("SELECT id FROM tenants"))]
    for tenant in tenants:
        transact(engine, tenant, read)
    return found


@pytest.mark.parametrize("shapes", [BARE, EXTENDED], ids=["bare", "extended"])
# Each is a whole database: few, and no smaller one is looked for when one fails.
@settings(max_examples=3, phases=(Phase.explicit, Phase.reuse, Phase.generate))
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


@pytest.mark.parametrize("shape", [Shape(), SERVICE], ids=names)
def test_a_dry_run_writes_nothing_and_tells_what_the_real_one_does(
    legacies: Legacies, shape: Shape
) -> None:
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
