"""The contacts and messages of the service: its tables, and what it reads from them.

A service has tables of its own for tenants, contacts and messages. This one takes the library's
minimal tables. It has no login, so everything belongs to one tenant.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from campaign_model import Campaign, ContactStatus, InvalidArgument, ReviewTally
from campaign_model.db import HostTables, MinimalHost
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_contacts

HOST = MinimalHost(HostTables())
CONTACTS, MESSAGES = HOST.contacts, HOST.messages

TENANT = UUID("5e9f1ce0-0000-4000-8000-000000000001")

SAMPLE_CONTACTS = files("campaign_model").joinpath("cli", "demo", "sample_contacts.csv")

FIELDS = (
    "first_name",
    "last_name",
    "company",
    "job_title",
    "email_address",
    "linkedin_url",
    "phone",
)

Contact = Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """A written message. ``cost=None`` means that you do not know what it cost."""

    body: str
    subject: str | None
    cost: Decimal | None


def read_contacts(file: bytes) -> dict[UUID, Contact]:
    """Read the contacts of a CSV file, by id. The id follows from the address or the name.

    So a contact that is read a second time is the same contact. Raise :class:`InvalidArgument` for
    a file that cannot be read or lacks a column.
    """
    try:
        text = file.decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
        columns, rows = reader.fieldnames or (), [*reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidArgument("contacts", f"this is no CSV file in UTF-8: {error}") from None
    missing = {"first_name", "company"}.difference(columns)
    if missing:
        names = ", ".join(sorted(missing))
        raise InvalidArgument("contacts", f"the CSV file has no column {names}")
    contacts: dict[UUID, Contact] = {}
    for row in rows:
        contact = {field: (row.get(field) or "").strip() or None for field in FIELDS}
        name = f"{contact['first_name']} {contact['last_name']}, {contact['company']}"
        identity = contact["email_address"] or contact["linkedin_url"] or name
        if any(contact.values()):
            contacts[uuid5(TENANT, identity.casefold())] = contact
    return contacts


def save_contacts(connection: sa.Connection, contacts: Mapping[UUID, Contact]) -> None:
    """Insert the contacts, or update those that exist."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(CONTACTS)
    rows = [{"id": id_, "tenant_id": TENANT, **contact} for id_, contact in contacts.items()]
    if rows:
        updates = {field: insert.excluded[field] for field in FIELDS}
        connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=updates), rows)


def select_messages() -> sa.Select[Any]:
    """Select messages with their contacts, in the order of reading."""
    contact, message = CONTACTS.c, MESSAGES.c
    return (
        sa.select(MESSAGES, *(column for column in contact if column.name not in message))
        .join_from(MESSAGES, CONTACTS, contact.id == message.contact_id)
        .order_by(contact.last_name, contact.id, message.sequence_step, message.variant)
    )


def count_decisions(store: CampaignStore, id: UUID) -> ReviewTally:
    """Count the approved, rejected and undecided messages."""
    return store.campaigns.review_tally(
        id,
        MESSAGES,
        is_approved=MESSAGES.c.status == "approved",
        is_rejected=MESSAGES.c.status == "rejected",
    )


def count_outdated(store: CampaignStore, campaign: Campaign) -> int:
    """Count the contacts whose messages were written for other steps than the present ones."""
    contact = campaign_contacts.c
    number = sa.select(sa.func.count()).where(
        contact.tenant_id == TENANT,
        contact.campaign_id == campaign.id,
        contact.status == ContactStatus.GENERATED.value,
        contact.steps_fingerprint.is_distinct_from(campaign.steps.fingerprint),
    )
    return store.connection.execute(number).scalar_one()
