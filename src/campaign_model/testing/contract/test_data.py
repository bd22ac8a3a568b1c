"""What is in the tables keeps the promises that no constraint can. Only reads.

Bounded, for copies of production: the campaigns changed last, up to ``CAMPAIGNS`` of them and
``CONTACTS`` contacts in all, and as many templates; each statement ends after the reader's
timeout. How much of the whole that was stands in the report of a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.db import HostTables
from campaign_model.errors import InvalidDocument
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.store.campaigns import campaign_from_row
from campaign_model.store.connection import database_time
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_templates,
    campaigns,
    host_contacts,
)
from campaign_model.store.templates import template_from_row
from campaign_model.store.types import Array, Money, Uuid, any_of
from campaign_model.testing.contract.totals import disagreements
from campaign_model.wire import DEFAULT

CAMPAIGNS = 500
CONTACTS = 200_000
NAMED = 20
"""A failure names so many rows of a kind."""

STUCK_AFTER = timedelta(days=1)
"""A lease that ran out so long ago is not one that a worker is late with."""

GENERATING = ContactStatus.GENERATING.value
_UNDER_REVIEW = [Status.REVIEW, Status.APPROVED, Status.EXPORTED]


@attrs.frozen
class Sample:
    """The campaigns that are looked at."""

    tenant_ids: list[UUID]
    ids: list[UUID]
    of: int

    def within(self, tenant_id: sa.Column[Any], id: sa.Column[Any]) -> sa.ColumnElement[bool]:
        """The rows of these campaigns, by the tenant too: the indexes begin with it."""
        return sa.and_(
            any_of(tenant_id, sa.literal(self.tenant_ids, Array(Uuid))),
            any_of(id, sa.literal(self.ids, Array(Uuid))),
        )

    def refute(self, found: Iterable[str]) -> None:
        """Fail with what was found in the sample."""
        lines = [*found]
        if lines:
            more = [] if len(lines) <= NAMED else [f"and {len(lines) - NAMED} more"]
            looked = f"(looked at {len(self.ids)} of {self.of} campaigns)"
            pytest.fail("\n".join([*lines[:NAMED], *more, looked]), pytrace=False)


@pytest.fixture
def sample(reader: sa.Connection) -> Sample:
    """As many campaigns as the limits allow, those changed last first."""
    rows = reader.execute(
        sa.select(campaigns.c.tenant_id, campaigns.c.id, campaigns.c.total_contacts)
        .order_by(campaigns.c.updated_at.desc())
        .limit(CAMPAIGNS)
    ).all()
    taken: list[Any] = []
    contacts = 0
    for row in rows:
        contacts += row.total_contacts
        if taken and contacts > CONTACTS:
            break
        taken.append(row)
    number = reader.execute(sa.select(sa.func.count()).select_from(campaigns)).scalar_one()
    return Sample(sorted({row.tenant_id for row in taken}), [row.id for row in taken], number)


def test_every_status_is_known(reader: sa.Connection, sample: Sample) -> None:
    """Every campaign and every contact is where the lifecycle can go on from.

    Look at which program wrote the rows named, and at the CHECKs on status.
    """

    def strange(
        table: sa.Table, which: sa.ColumnElement[bool], words: Iterable[str]
    ) -> Iterator[str]:
        unknown = sa.or_(table.c.status.is_(None), table.c.status.not_in([*words]))
        for row in reader.execute(
            sa.select(table.c.status, sa.func.count())
            .where(which, unknown)
            .group_by(table.c.status)
        ):
            yield f"{table.name}: {row[1]} in status {row[0]!r}"

    sample.refute(
        (
            *strange(campaigns, sample.within(campaigns.c.tenant_id, campaigns.c.id), Status),
            *strange(
                campaign_contacts,
                sample.within(campaign_contacts.c.tenant_id, campaign_contacts.c.campaign_id),
                ContactStatus,
            ),
        )
    )


def test_every_document_can_be_read(reader: sa.Connection, sample: Sample) -> None:
    """Every campaign and template opens, in every service. Look at who wrote the rows named.

    Rows from before the CHECKs were validated, or that a CHECK cannot judge: keys that repeat, day
    offsets that decrease.
    """

    def unreadable(table: sa.Table, which: sa.ColumnElement[bool], read: Any) -> Iterator[str]:
        for row in reader.execute(sa.select(table).where(which).limit(CAMPAIGNS)):
            try:
                read(row, DEFAULT)
            except (InvalidDocument, ValueError) as error:
                yield f"{table.name} {row.id}: {error}"

    every = campaign_templates.c.id.is_not(None)
    sample.refute(
        (
            *unreadable(
                campaigns,
                sample.within(campaigns.c.tenant_id, campaigns.c.id),
                campaign_from_row,
            ),
            *unreadable(campaign_templates, every, template_from_row),
        )
    )


def test_totals_say_what_the_contacts_say(reader: sa.Connection, sample: Sample) -> None:
    """Progress and cost are what was done and paid for. Look at which program changes contacts.

    Rows of campaign_contacts are written by the library alone; campaign-model db doctor settles
    what others have written.
    """
    sample.refute(disagreements(reader, sample.tenant_ids, sample.ids))


def test_no_row_joins_two_tenants(reader: sa.Connection, sample: Sample, host: HostTables) -> None:
    """No customer's campaign holds another's contacts. Look at who wrote the rows named.

    With the foreign keys in place and validated there can be none. Any rows are looked at, as many
    as the limit allows.
    """
    row = sa.select(campaign_contacts).limit(CONTACTS).subquery()
    contact = host_contacts(host)
    strange = (
        sa.select(row.c.id, row.c.tenant_id, campaigns.c.tenant_id, contact.c.tenant_id)
        .join_from(row, campaigns, campaigns.c.id == row.c.campaign_id)
        .join(contact, contact.c.id == row.c.contact_id)
        .where(
            sa.or_(campaigns.c.tenant_id != row.c.tenant_id, contact.c.tenant_id != row.c.tenant_id)
        )
        .limit(NAMED)
    )
    sample.refute(
        f"campaign_contacts {row_id} of tenant {tenant}: its campaign is of {of_campaign}, its "
        f"contact of {of_contact}"
        for row_id, tenant, of_campaign, of_contact in reader.execute(strange)
    )


def test_nothing_is_held_by_a_worker_that_is_gone(reader: sa.Connection, sample: Sample) -> None:
    """Every contact comes to its end, and no money is set aside for nobody.

    A contact that is generating and has no lease, or stands in a campaign under review, is claimed
    by nobody any more: look at who wrote the rows named. Where leases ran out over a day ago no
    worker is running: start one, or cancel the generation.
    """
    contact = campaign_contacts.c
    long_ago = database_time(reader) - STUCK_AFTER
    generating = contact.status == GENERATING
    kinds = {
        "is generating without a lease": sa.and_(
            generating,
            sa.or_(contact.lease_expires_at.is_(None), contact.claim_token.is_(None)),
        ),
        "is generating in a campaign under review": sa.and_(
            generating, campaigns.c.status.in_(_UNDER_REVIEW)
        ),
        "has a lease that ran out over a day ago": sa.and_(
            generating,
            campaigns.c.status == Status.GENERATING,
            contact.lease_expires_at < long_ago,
        ),
        "has money set aside and is not generating": sa.and_(
            contact.status != GENERATING, contact.reserved != sa.literal(Decimal(0), Money())
        ),
    }
    of_its_campaign = sa.and_(
        campaigns.c.tenant_id == contact.tenant_id, campaigns.c.id == contact.campaign_id
    )
    sample.refute(
        f"campaign {row.campaign_id}: contact {row.contact_id} {kind}"
        for kind, condition in kinds.items()
        for row in reader.execute(
            sa.select(contact.campaign_id, contact.contact_id)
            .join_from(campaign_contacts, campaigns, of_its_campaign)
            .where(sample.within(contact.tenant_id, contact.campaign_id), condition)
            .limit(NAMED + 1)
        )
    )
