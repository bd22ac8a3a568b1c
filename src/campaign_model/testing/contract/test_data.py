"""The rows keep promises that no constraint can enforce. These tests only read.

The tests are bounded, so that they can run on copies of production. They read at most
``MAX_TEMPLATES`` templates, and the campaigns that changed last: at most ``MAX_CAMPAIGNS``
campaigns, which have at most ``MAX_CONTACTS`` contacts in total. The fixture ``reader`` sets a
timeout for each statement. A failure says how many of all campaigns were read.
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
from campaign_model.db.setup import require_all_rows
from campaign_model.errors import InvalidDocument
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.store.campaign_rows import campaign_from_row
from campaign_model.store.connection import database_time
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_templates,
    campaigns,
    host_table,
    metadata,
)
from campaign_model.store.templates import template_from_row
from campaign_model.store.types import Money
from campaign_model.testing.totals_check import find_wrong_totals
from campaign_model.wire import DEFAULT

MAX_TEMPLATES = 500
MAX_CAMPAIGNS = 500
MAX_CONTACTS = 200_000
MAX_NAMED_ROWS = 20
"""The most rows that a failure names."""

ONE_DAY = timedelta(days=1)
"""A contact whose lease expired this long ago has no living worker."""

GENERATING = ContactStatus.GENERATING.value
_UNDER_REVIEW = [Status.REVIEW, Status.APPROVED, Status.EXPORTED]


@attrs.frozen
class Sample:
    """The campaigns that the tests read."""

    tenant_ids: list[UUID]
    ids: list[UUID]
    total: int

    def contains(self, tenant_id: sa.Column[Any], id: sa.Column[Any]) -> sa.ColumnElement[bool]:
        """Return the SQL condition for rows of these campaigns.

        The condition names the tenants too, because the indexes begin with the tenant.
        """
        return sa.and_(tenant_id.in_(self.tenant_ids), id.in_(self.ids))

    def fail_if_any(self, faults: Iterable[str]) -> None:
        """Fail the test and list the faults, if there are any."""
        lines = [*faults]
        if lines:
            more = (
                [] if len(lines) <= MAX_NAMED_ROWS else [f"and {len(lines) - MAX_NAMED_ROWS} more"]
            )
            size = f"(read {len(self.ids)} of {self.total} campaigns)"
            pytest.fail("\n".join([*lines[:MAX_NAMED_ROWS], *more, size]), pytrace=False)


@pytest.fixture
def sample(reader: sa.Connection) -> Sample:
    """Choose the campaigns that changed last: at most ``MAX_CAMPAIGNS``.

    ``MAX_CONTACTS`` limits the contacts of all chosen campaigns together. The first campaign is
    chosen even if it alone has more. A role that row-level security binds would see none.
    """
    require_all_rows(reader, metadata.tables)
    rows = reader.execute(
        sa.select(campaigns.c.tenant_id, campaigns.c.id, campaigns.c.total_contacts)
        .order_by(campaigns.c.updated_at.desc())
        .limit(MAX_CAMPAIGNS)
    ).all()
    chosen: list[Any] = []
    contacts = 0
    for row in rows:
        contacts += row.total_contacts
        if chosen and contacts > MAX_CONTACTS:
            break
        chosen.append(row)
    total = reader.execute(sa.select(sa.func.count()).select_from(campaigns)).scalar_one()
    return Sample(sorted({row.tenant_id for row in chosen}), [row.id for row in chosen], total)


def test_every_status_is_known(reader: sa.Connection, sample: Sample) -> None:
    """Every campaign and every contact has a status that the lifecycle knows.

    If this fails, find the program that wrote these rows, and check the CHECKs on status.
    """

    def unknown_statuses(
        table: sa.Table, campaign_id: sa.Column[Any], statuses: Iterable[str]
    ) -> Iterator[str]:
        in_sample = sample.contains(table.c.tenant_id, campaign_id)
        is_unknown = sa.or_(table.c.status.is_(None), table.c.status.not_in([*statuses]))
        for status, number in reader.execute(
            sa.select(table.c.status, sa.func.count())
            .where(in_sample, is_unknown)
            .group_by(table.c.status)
        ):
            yield f"{table.name}: {number} rows have the unknown status {status!r}"

    of_campaigns = unknown_statuses(campaigns, campaigns.c.id, Status)
    of_contacts = unknown_statuses(
        campaign_contacts, campaign_contacts.c.campaign_id, ContactStatus
    )
    sample.fail_if_any([*of_campaigns, *of_contacts])


def test_every_document_can_be_read(reader: sa.Connection, sample: Sample) -> None:
    """Every service can load every campaign and every template.

    If this fails, find the program that wrote these rows. They may be older than the CHECKs, or
    have a fault that no CHECK can see: a repeated step key, or day offsets that decrease.
    """

    def unreadable(table: sa.Table, rows: sa.Select[Any], read: Any) -> Iterator[str]:
        for row in reader.execute(rows):
            try:
                read(row, DEFAULT)
            except (InvalidDocument, ValueError) as error:
                yield f"{table.name} {row.id}: {error}"

    in_sample = sample.contains(campaigns.c.tenant_id, campaigns.c.id)
    campaign_rows = sa.select(campaigns).where(in_sample)
    of_campaigns = unreadable(campaigns, campaign_rows, campaign_from_row)
    template_rows = sa.select(campaign_templates).limit(MAX_TEMPLATES)
    of_templates = unreadable(campaign_templates, template_rows, template_from_row)
    sample.fail_if_any([*of_campaigns, *of_templates])


def test_totals_are_the_sums_of_contacts(reader: sa.Connection, sample: Sample) -> None:
    """Progress and cost are right.

    If this fails, look for other programs that write campaign_contacts or campaign_totals: only the
    library may write these tables. ``campaign-model db doctor`` repairs the totals.
    """
    sample.fail_if_any(find_wrong_totals(reader, sample.tenant_ids, sample.ids))


def test_no_row_joins_two_tenants(reader: sa.Connection, sample: Sample, host: HostTables) -> None:
    """No customer's campaign has contacts of another customer.

    If this fails, find the program that wrote these rows, and check the foreign keys: validated
    foreign keys make such rows impossible.
    """
    row = campaign_contacts.c
    contact = host_table(host.contacts)
    # Join tables by the tenant only: a sharded database can do no other join.
    referred_rows = {
        "campaign": sa.exists().where(
            campaigns.c.tenant_id == row.tenant_id, campaigns.c.id == row.campaign_id
        ),
        "contact": sa.exists().where(
            contact.c.tenant_id == row.tenant_id, contact.c.id == row.contact_id
        ),
    }
    sample.fail_if_any(
        f"campaign_contacts {row_id} is of tenant {tenant}, and its {referred} is not"
        for referred, is_of_tenant in referred_rows.items()
        for row_id, tenant in reader.execute(
            sa.select(row.id, row.tenant_id)
            .where(row.campaign_id.in_(sample.ids), sa.not_(is_of_tenant))
            .limit(MAX_NAMED_ROWS + 1)  # One more shows that there are others.
        )
    )


def test_no_contact_waits_for_a_worker_that_is_gone(reader: sa.Connection, sample: Sample) -> None:
    """A worker can finish every contact, and every reservation ends.

    If this fails, see which fault the message names. If a lease expired more than a day ago, no
    worker is running: start one, or cancel the generation. In every other case, find the program
    that wrote the row: no worker can claim the contact again, or free its reservation.
    """
    contact = campaign_contacts.c
    a_day_ago = database_time(reader) - ONE_DAY
    generating = contact.status == GENERATING
    fault_conditions = {
        "is generating without a lease": sa.and_(
            generating, sa.or_(contact.lease_expires_at.is_(None), contact.claim_token.is_(None))
        ),
        "is generating in a campaign under review": sa.and_(
            generating, campaigns.c.status.in_(_UNDER_REVIEW)
        ),
        "has a lease that expired more than a day ago": sa.and_(
            generating,
            campaigns.c.status == Status.GENERATING,
            contact.lease_expires_at < a_day_ago,
        ),
        "has a reservation and is not generating": sa.and_(
            contact.status != GENERATING, contact.reserved != sa.literal(Decimal(0), Money())
        ),
    }
    is_its_campaign = sa.and_(
        campaigns.c.tenant_id == contact.tenant_id, campaigns.c.id == contact.campaign_id
    )
    sample.fail_if_any(
        f"campaign {row.campaign_id}: contact {row.contact_id} {fault}"
        for fault, condition in fault_conditions.items()
        for row in reader.execute(
            sa.select(contact.campaign_id, contact.contact_id)
            .join_from(campaign_contacts, campaigns, is_its_campaign)
            .where(sample.contains(contact.tenant_id, contact.campaign_id), condition)
            .limit(MAX_NAMED_ROWS + 1)  # One more shows that there are others.
        )
    )
