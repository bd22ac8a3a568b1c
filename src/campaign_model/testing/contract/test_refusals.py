"""The database refuses rows that no reader could read and rows that join two tenants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import (
    MAX_ACTOR,
    MAX_DESCRIPTION,
    MAX_NAME,
    MAX_REASON,
    Campaign,
    CampaignTemplate,
)
from campaign_model.claims import MAX_ERROR
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
from campaign_model.store.tenant_setting import choose_tenant
from campaign_model.store.types import UtcDateTime, Uuid
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant, make_campaign

_STEP_FAULTS: tuple[dict[str, Any], ...] = (
    {"channel": 1},
    {"channel": "E-Mail"},
    {"label": 5},
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
_NOT_STEPS: tuple[Any, ...] = ({}, None, "[]", [1], [[]], [{}])
_BAD_STEPS: tuple[Any, ...] = (
    *_NOT_STEPS,
    [_EMAIL | {"key": "a"}] * 2,
    [_EMAIL, _EMAIL | {"key": "s1"}],
    [_EMAIL | {"day_offset": 2}, _EMAIL, _EMAIL | {"day_offset": 1}],
    [_EMAIL] * 21,
    *([_EMAIL, _EMAIL | fault] for fault in _STEP_FAULTS),
)
_BAD_SETTINGS: tuple[Any, ...] = (
    [],
    None,
    "{}",
    {"tone": 1},
    {"language": "e"},
    {"custom_instructions": 1},
    {"default_variant_count": 4},
    {"budget": 5},
    {"budget": "-1"},
    {"budget": "1e3"},
)
# SQLite stores money as a whole number of billionths.
_BAD_SUM = {"postgresql": ["NaN", "Infinity", "0.0000000001"], "sqlite": ["0.5", "much"]}
# A sum may be negative in one shard; an amount may not.
_BAD_AMOUNT = {dialect: ["-1", *values] for dialect, values in _BAD_SUM.items()}


Values = dict[str, list[str]]
"""Values as SQL, by engine."""


def _quoted(values: dict[str, list[str]]) -> Values:
    return {
        dialect: ["'" + value.replace("'", "''") + "'" for value in texts]
        for dialect, texts in values.items()
    }


def _on_both_engines(*values: str) -> Values:
    return _quoted({"postgresql": [*values], "sqlite": [*values]})


def _documents(*values: Any) -> Values:
    return _on_both_engines(*(json.dumps(value) for value in values))


def _too_long(longest: int, *others: str) -> Values:
    return _on_both_engines("x" * (longest + 1), *others)


_BAD_TYPES: dict[type, list[str]] = {
    Uuid: ["'x'", "7", "'ABCDEF00000040008000000000000000'", "x'31'"],
    UtcDateTime: ["'soon'", "''", "7", "'2026-02-30 00:00:00.000000'", "'2026-01-01'"],
    sa.Integer: ["'many'", "0.5", "x'31'"],
    sa.Text: ["x'61'", "'a' || char(0)"],
}
"""Values that SQLite stores in a column of another type."""


def _bad_types(table: sa.Table) -> dict[str, Values]:
    """Return the bad values of the checks that follow from the types of a table's columns."""
    bad: dict[str, Values] = {
        column.name: {"sqlite": values}
        for column in table.c
        for type_, values in _BAD_TYPES.items()
        if isinstance(column.type, type_)
    }
    if any(isinstance(column.type, UtcDateTime) for column in table.c):
        bad["times"] = {
            "postgresql": ["'infinity'", "'-infinity'", "'10000-01-01'", "'0044-03-15 BC'"]
        }
    return bad


_NAMES: dict[str, Values] = {
    "name": _too_long(MAX_NAME, "", " ", "\t\N{NO-BREAK SPACE}"),
    "description": _too_long(MAX_DESCRIPTION),
}

_BAD: dict[sa.Table, dict[str, Values]] = {
    campaigns: {
        **_NAMES,
        "status": _on_both_engines("sending", "Draft", ""),
        "is_active": {"postgresql": ["false"], "sqlite": ["0", "2", "'yes'"]},
        "template_config": _documents(*_BAD_STEPS),
        "generation_config": _documents(*_BAD_SETTINGS),
        "generation_cost": _quoted(_BAD_AMOUNT),
    },
    campaign_contacts: {
        "status": _on_both_engines("sent", "Pending", ""),
        "claim": _on_both_engines("2026-01-01 00:00:00.000000"),
        "enrichment_gaps": _on_both_engines("{}", '"phone"', '[""]', '["email", 1]'),
        "reported_tokens": _on_both_engines("{}", '"[]"'),
        "generation_cost": _quoted(_BAD_AMOUNT),
        "reserved": _quoted(_BAD_AMOUNT),
        "error_code": _too_long(MAX_ERROR),
        "error": _too_long(MAX_ERROR),
    },
    campaign_erased_claims: {"reserved": _quoted(_BAD_AMOUNT)},
    campaign_totals: dict.fromkeys(
        ("cost", "erased_cost", "reserved", "unit_reserve"), _quoted(_BAD_SUM)
    ),
    campaign_history: {
        "action": _on_both_engines("send", ""),
        "source": _on_both_engines("sent", ""),
        "target": _on_both_engines("sent", ""),
        "actor": _too_long(MAX_ACTOR),
        "reason": _too_long(MAX_REASON),
    },
    campaign_templates: {
        **_NAMES,
        "is_system": {"postgresql": ["true"], "sqlite": ["1", "2"]},
        "steps": _documents(*_BAD_STEPS),
        "default_config": _documents(*_BAD_SETTINGS),
    },
}

BAD: dict[sa.Table, dict[str, Values]] = {
    table: _bad_types(table) | values for table, values in _BAD.items()
}
"""Values that a CHECK must refuse: by table, check and engine.

A check has the name of its column, except for ``times`` (every column of times) and ``claim``.
"""


def _columns_of(table: sa.Table, check: str) -> list[str]:
    """Return the columns that a test sets to the bad values of a check."""
    if check == "times":
        return [column.name for column in table.c if isinstance(column.type, UtcDateTime)]
    return ["lease_expires_at" if check == "claim" else check]


# The codes of ``refusal_of`` for each kind of constraint.
_NO_PRIVILEGE = {"42501"}  # The role of a service may not update the history at all.
_CHECK = {"23514", "SQLITE_CONSTRAINT_CHECK"}
_NOT_NULL = {"23502", "SQLITE_CONSTRAINT_NOTNULL"}
_FOREIGN_KEY = {"23503"}
_UNIQUE = {"23505"}
_REPLACED = "replaced"
"""No constraint refuses the value, but a trigger of the host has written another one."""
_GUARD = "SQLITE_CONSTRAINT_TRIGGER"
"""On SQLite, the transition guard (``db.install_guard``) refuses before a foreign key does."""


@attrs.frozen
class Scratch:
    """A campaign and a template that tests try to damage, in a transaction that is rolled back."""

    store: CampaignStore
    campaign: Campaign
    template: CampaignTemplate

    def refusal_of(self, statement: sa.Executable) -> str | None:
        """Execute the statement and undo it. Return the error code, or ``None`` if it succeeds.

        The code is the SQLSTATE or, for some errors of SQLite, the name of the error. A statement
        may return whether each row has the new value: if none has it, return ``_REPLACED``.
        """
        savepoint = self.store.connection.begin_nested()
        try:
            result = self.store.connection.execute(statement)
            if result.returns_rows and not any(result.scalars()):
                return _REPLACED
        except sa.exc.DBAPIError as error:
            return sqlstate(error) or str(getattr(error.orig, "sqlite_errorname", "?"))
        finally:
            savepoint.rollback()
        return None


@pytest.fixture
def scratch(tenant: Tenant) -> Iterator[Scratch]:
    """Insert the rows that the tests try to damage."""
    with tenant.engine.connect() as connection, connection.begin() as transaction:
        store = CampaignStore(connection, tenant.id, host=tenant.host)
        campaign = make_campaign(store, tenant.contacts(3), "generating", generated=1)
        (claim,) = store.generation.claim(campaign.id, 1, LEASE).claims
        store.contacts.erase([claim.contact_id])
        template = store.templates.add(CampaignTemplate("Own", STEPS))
        yield Scratch(store, campaign, template)
        transaction.rollback()


@pytest.mark.parametrize("table", BAD, ids=lambda table: table.name)
def test_checks_refuse_unreadable_values(scratch: Scratch, table: sa.Table) -> None:
    """No program can write a value that the library cannot read.

    If this fails, check the CHECKs on the columns in the message: they are missing, or weaker than
    the library's.
    """
    dialect = scratch.store.connection.dialect.name
    accepted = []
    for column, value in [
        (column, value)
        for check, values in BAD[table].items()
        for column in _columns_of(table, check)
        for value in values.get(dialect, ())
    ]:
        refusal = scratch.refusal_of(
            sa.update(table)
            .where(table.c.tenant_id == scratch.store.tenant_id)
            .values({column: sa.literal_column(value)})
            .returning(sa.literal_column(f"{column} = {value}"))
        )
        if refusal not in _CHECK | _NO_PRIVILEGE | {_REPLACED}:
            accepted.append(f"{table.name}.{column} = {value[:80]}: {refusal or 'accepted'}")
    assert not accepted


@pytest.mark.parametrize("table", [campaigns, campaign_contacts], ids=lambda table: table.name)
def test_a_row_without_a_status_is_refused(scratch: Scratch, table: sa.Table) -> None:
    """Every campaign and every contact has a status. Without one it would be in no list.

    If this fails, check NOT NULL on the column status.
    """
    of_tenant = table.c.tenant_id == scratch.store.tenant_id
    without_status = sa.update(table).where(of_tenant).values(status=sa.null())
    assert scratch.refusal_of(without_status) in _NOT_NULL


def test_foreign_keys_refuse_rows_of_two_tenants(
    scratch: Scratch, tenant: Tenant, other_tenant: Tenant
) -> None:
    """No program can write a row that joins two tenants.

    If this fails, check the foreign keys of the tables in the message. Each must contain tenant_id
    and must be checked at once (not DEFERRABLE INITIALLY DEFERRED). Foreign keys to the host's
    tables must exist too.
    """
    mine, theirs = scratch.store.tenant_id, other_tenant.id
    # Not in the campaign: a unique key without tenant_id would refuse a contact that is there.
    *_, my_contact = tenant.contacts(4)
    (their_contact,) = other_tenant.contacts(1)
    my_campaign = {"campaign_id": scratch.campaign.id}
    now = database_time(scratch.store.connection)
    entry: dict[str, Any] = {"action": "approve", "source": "review", "target": "approved"}
    entry |= {"version": 99, "at": now}
    accepted: list[str] = []

    def try_insert(what: str, table: sa.Table, tenant_id: UUID, **values: Any) -> None:
        """Try to insert a row. Note it unless a foreign key refuses it."""
        if "id" in table.c:
            values["id"] = uuid4()
        # A foreign key refuses the row, not row-level security.
        choose_tenant(scratch.store.connection, tenant_id)
        refusal = scratch.refusal_of(sa.insert(table).values(tenant_id=tenant_id, **values))
        if refusal not in {*_FOREIGN_KEY, _GUARD}:
            accepted.append(f"{table.name}: {what}: {refusal or 'accepted'}")

    # 1. Contacts of a campaign, where the contact, the campaign or both are of the other tenant.
    contact, campaign = "another tenant's contact", "another tenant's campaign"
    both = "another tenant's campaign and contact"
    try_insert(contact, campaign_contacts, mine, contact_id=their_contact, **my_campaign)
    try_insert(campaign, campaign_contacts, theirs, contact_id=their_contact, **my_campaign)
    try_insert(both, campaign_contacts, theirs, contact_id=my_contact, **my_campaign)
    # 2. Rows of other tables that refer to a campaign of the other tenant.
    erased = {"campaign_contact_id": uuid4(), "token": uuid4()}
    try_insert(campaign, campaign_totals, theirs, shard=0, **my_campaign)
    try_insert(campaign, campaign_history, theirs, **my_campaign, **entry)
    try_insert(campaign, campaign_erased_claims, theirs, **my_campaign, **erased)
    # 3. Rows that refer to no row of the host at all.
    try_insert("no such tenant", campaigns, uuid4(), name="x")
    try_insert("no such owner", campaigns, mine, name="x", owner_id=uuid4())
    try_insert("no such tenant", campaign_templates, uuid4(), name="x")
    assert not accepted


def test_unique_keys_refuse_a_second_row(scratch: Scratch) -> None:
    """Two users who do the same in parallel leave one row: no contact gets its messages twice.

    If this fails, check the primary and unique keys of the tables in the message. They must be
    checked at once (not DEFERRABLE INITIALLY DEFERRED).
    """
    accepted = []
    for table in (
        campaigns,
        campaign_contacts,
        campaign_totals,
        campaign_history,
        campaign_templates,
    ):
        of_tenant = sa.select(table).where(table.c.tenant_id == scratch.store.tenant_id)
        row = scratch.store.connection.execute(of_tenant).mappings().first()
        assert row is not None
        keys = [[*table.primary_key.columns.keys()]] + [
            [*key.columns.keys()]
            for key in table.constraints
            if isinstance(key, sa.UniqueConstraint)
        ]
        # Insert the row again, with another id if the id is not in the key that must refuse it.
        for key in keys:
            new_id = {"id": uuid4()} if "id" in table.c and "id" not in key else {}
            refusal = scratch.refusal_of(sa.insert(table).values(dict(row) | new_id))
            if refusal not in _UNIQUE:
                accepted.append(f"{table.name} ({', '.join(key)}): {refusal or 'accepted'}")
    assert not accepted
