"""The database itself refuses what nobody could read, and what belongs to two tenants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.store import CampaignStore
from campaign_model.store.connection import database_time, sqlstate
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_erased_claims,
    campaign_history,
    campaign_templates,
    campaign_totals,
    campaigns,
)
from campaign_model.testing.sample_campaigns import STEPS, Tenant, make_campaign

_STEP_FAULTS: tuple[dict[str, Any], ...] = (
    {"channel": 1},
    {"channel": "E-Mail"},
    {"label": ""},
    {"enabled": "yes"},
    {"needs_pdf": 1},
    {"variant_count": 4},
    {"variant_count": "2"},
    {"key": "a b"},
    {"day_offset": 366},
    {"condition": "maybe"},
    {"config": []},
    {"step": 0},
)
_EMAIL = {"channel": "email"}
_BAD_STEPS: tuple[Any, ...] = (
    *({}, None, "[]", [1], [[]], [{}], [_EMAIL] * 21),
    *([_EMAIL, _EMAIL | fault] for fault in _STEP_FAULTS),
)
_BAD_SETTINGS: tuple[Any, ...] = (
    *([], None, "{}"),
    *({"tone": 1}, {"tone": ""}, {"language": "e"}, {"custom_instructions": 1}),
    *({"default_variant_count": 4}, {"budget": 5}, {"budget": "-1"}, {"budget": "1e3"}),
)
_BAD_SUM = {"postgresql": ["NaN", "Infinity", "0.0000000001"], "sqlite": ["0.5", "much"]}
_BAD_AMOUNT = {dialect: ["-1", *values] for dialect, values in _BAD_SUM.items()}


def _everywhere(*values: str) -> dict[str, list[str]]:
    return {"postgresql": [*values], "sqlite": [*values]}


def _documents(*values: Any) -> dict[str, list[str]]:
    return _everywhere(*(json.dumps(value) for value in values))


BAD: dict[sa.Table, dict[str, dict[str, list[str]]]] = {
    campaigns: {
        "status": _everywhere("sending", "Draft", ""),
        "is_active": {"postgresql": ["false"], "sqlite": ["0"]},
        "template_config": _documents(*_BAD_STEPS),
        "generation_config": _documents(*_BAD_SETTINGS),
        "generation_cost": _BAD_AMOUNT,
    },
    campaign_contacts: {
        "status": _everywhere("sent", "Pending", ""),
        "enrichment_gaps": _everywhere("{}", '"phone"'),
        "reported_tokens": _everywhere("{}", '"[]"'),
        "generation_cost": _BAD_AMOUNT,
        "reserved": _BAD_AMOUNT,
    },
    campaign_totals: dict.fromkeys(("cost", "erased_cost", "reserved", "unit_reserve"), _BAD_SUM),
    campaign_templates: {
        "is_system": {"postgresql": ["true"], "sqlite": ["1"]},
        "steps": _documents(*_BAD_STEPS),
        "default_config": _documents(*_BAD_SETTINGS),
    },
}
"""What no CHECK may let pass: table -> column -> engine -> values, as SQL literals say them."""

_CHECK = {"23514", "SQLITE_CONSTRAINT_CHECK"}
_NOT_NULL = {"23502", "SQLITE_CONSTRAINT_NOTNULL"}
_FOREIGN_KEY = {"23503"}
_UNIQUE = {"23505"}


@attrs.frozen
class Scratch:
    """A row in every table, in a transaction that is rolled back."""

    store: CampaignStore
    campaign: Campaign
    template: CampaignTemplate

    def told(self, statement: sa.Executable) -> str | None:
        """The SQLSTATE by which the database refuses a statement at once, or ``None``."""
        savepoint = self.store.connection.begin_nested()
        try:
            self.store.connection.execute(statement)
        except sa.exc.DBAPIError as error:
            return sqlstate(error) or getattr(error.orig, "sqlite_errorname", "?")
        finally:
            savepoint.rollback()
        return None


@pytest.fixture
def scratch(tenant: Tenant) -> Iterator[Scratch]:
    """Rows to spoil."""
    with tenant.engine.connect() as connection, connection.begin() as transaction:
        store = CampaignStore(connection, tenant.id, host=tenant.host)
        campaign = make_campaign(store, tenant.contacts(2), "generating", generated=1)
        template = store.templates.add(CampaignTemplate("Own", STEPS))
        yield Scratch(store, campaign, template)
        transaction.rollback()


@pytest.mark.parametrize("table", BAD, ids=lambda table: table.name)
def test_what_no_reader_could_read_is_refused(scratch: Scratch, table: sa.Table) -> None:
    """Whatever program writes, its rows can be read: its mistake is refused when it is made.

    Look at the CHECKs on the columns named: they are missing, or say less than the library's.
    """
    dialect = scratch.store.connection.dialect.name
    accepted = []
    for column, value in [
        (column, value) for column, values in BAD[table].items() for value in values[dialect]
    ]:
        literal = value.replace("'", "''")
        told = scratch.told(
            sa.update(table)
            .where(table.c.tenant_id == scratch.store.tenant_id)
            .values({column: sa.literal_column(f"'{literal}'")})
        )
        if told not in _CHECK:
            accepted.append(f"{table.name}.{column} = {value!r}: {told or 'accepted'}")
    assert not accepted


@pytest.mark.parametrize("table", [campaigns, campaign_contacts], ids=lambda table: table.name)
def test_a_row_without_a_status_is_refused(scratch: Scratch, table: sa.Table) -> None:
    """Every campaign and every contact stands somewhere; one in no status is in no list.

    Look at NOT NULL on the column status.
    """
    mine = table.c.tenant_id == scratch.store.tenant_id
    assert scratch.told(sa.update(table).where(mine).values(status=sa.null())) in _NOT_NULL


def test_rows_of_two_tenants_are_refused(scratch: Scratch, stranger: Tenant) -> None:
    """No row joins what belongs to two tenants, whichever program writes it.

    Look at the foreign keys of the table named: each has to carry tenant_id, to be there for the
    host's tables too, and to be checked at once (not DEFERRABLE INITIALLY DEFERRED).
    """
    mine, theirs = scratch.store.tenant_id, stranger.id
    my_contacts = scratch.store.connection.scalars(
        sa.select(campaign_contacts.c.contact_id).where(campaign_contacts.c.tenant_id == mine)
    ).all()
    (their_contact,) = stranger.contacts(1)
    of_campaign = {"campaign_id": scratch.campaign.id}
    now = database_time(scratch.store.connection)
    moved = {"version": 99, "action": "x", "source": "x", "target": "x", "at": now}
    strange: list[tuple[str, sa.Table, dict[str, Any]]] = [
        (
            "another tenant's contact",
            campaign_contacts,
            {"id": uuid4(), "tenant_id": mine, "contact_id": their_contact} | of_campaign,
        ),
        (
            "another tenant's campaign",
            campaign_contacts,
            {"id": uuid4(), "tenant_id": theirs, "contact_id": their_contact} | of_campaign,
        ),
        (
            "another tenant's campaign and contact",
            campaign_contacts,
            {"id": uuid4(), "tenant_id": theirs, "contact_id": my_contacts[0]} | of_campaign,
        ),
        (
            "another tenant's campaign",
            campaign_totals,
            {"tenant_id": theirs, "shard": 0} | of_campaign,
        ),
        (
            "another tenant's campaign",
            campaign_history,
            {"id": uuid4(), "tenant_id": theirs} | of_campaign | moved,
        ),
        (
            "another tenant's campaign",
            campaign_erased_claims,
            {"tenant_id": theirs, "campaign_contact_id": uuid4(), "token": uuid4()} | of_campaign,
        ),
        ("no such tenant", campaigns, {"id": uuid4(), "tenant_id": uuid4(), "name": "x"}),
        (
            "no such owner",
            campaigns,
            {"id": uuid4(), "tenant_id": mine, "name": "x", "owner_id": uuid4()},
        ),
        ("no such tenant", campaign_templates, {"id": uuid4(), "tenant_id": uuid4(), "name": "x"}),
    ]
    accepted = []
    for what, table, values in strange:
        told = scratch.told(sa.insert(table).values(values))
        if told not in _FOREIGN_KEY:
            accepted.append(f"{table.name}: {what}: {told or 'accepted'}")
    assert not accepted


def test_what_exists_once_is_not_written_twice(scratch: Scratch) -> None:
    """Two who do the same at once leave one row: a contact twice would get every message twice.

    Look at the primary and unique keys of the table named; they have to be checked at once.
    """
    accepted = []
    for table in (
        campaigns,
        campaign_contacts,
        campaign_totals,
        campaign_history,
        campaign_templates,
    ):
        mine = table.c.tenant_id == scratch.store.tenant_id
        row = scratch.store.connection.execute(sa.select(table).where(mine)).mappings().first()
        assert row is not None
        keys = [[*table.primary_key.columns.keys()]] + [
            [*key.columns.keys()]
            for key in table.constraints
            if isinstance(key, sa.UniqueConstraint)
        ]
        for key in keys:
            other = {"id": uuid4()} if "id" in table.c and "id" not in key else {}
            told = scratch.told(sa.insert(table).values(dict(row) | other))
            if told not in _UNIQUE:
                accepted.append(f"{table.name} ({', '.join(key)}): {told or 'accepted'}")
    assert not accepted
