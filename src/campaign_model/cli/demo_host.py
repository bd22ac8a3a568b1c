"""What a host has around this library, in small: people, messages, a reviewer and an exporter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.cli.console import UserError
from campaign_model.cli.contacts_csv import Person
from campaign_model.lifecycle import ReviewTally
from campaign_model.store import CampaignStore
from campaign_model.store.scope import insert_into

__all__ = [
    "HOST",
    "TENANT",
    "ChannelCosts",
    "check_tables",
    "costs",
    "export_lines",
    "review_all_but_one",
    "save_people",
    "tally",
    "write_whole",
]

HOST = db.MinimalHost(db.HostTables())
TENANT = UUID("d3300000-0000-4000-8000-000000000001")
"""Always the same, so that a second run finds the first one's contacts."""

_MESSAGES = HOST.messages.c
_APPROVED, _REJECTED = "approved", "rejected"


@attrs.frozen
class ChannelCosts:
    """A campaign's messages in one channel: how many, how many approved, and their cost."""

    channel: str
    messages: int
    approved: int
    cost: Decimal


def check_tables(engine: sa.Engine) -> None:
    """Refuse a database whose own tables are not like those that the demo writes to."""
    inspector = sa.inspect(engine)
    for table in (HOST.tenants, HOST.contacts, HOST.messages):
        if not inspector.has_table(table.name):
            continue
        present = {column["name"]: column for column in inspector.get_columns(table.name)}
        strange = [name for name in table.c.keys() if name not in present]  # noqa: SIM118
        strange += [
            name
            for name, column in present.items()
            if name not in table.c and not column["nullable"] and not column["default"]
        ]
        if strange:
            raise UserError(
                f"the database has a table {table.name} of its own, which differs in "
                f"{', '.join(strange)}; give the demo a database to itself"
            )


def save_people(connection: sa.Connection, people: Mapping[UUID, Person]) -> None:
    """Keep the tenant and the contacts; of those known already, what the file says now."""
    connection.execute(
        insert_into(connection, HOST.tenants).on_conflict_do_nothing(),
        {"id": TENANT, "name": "Demo"},
    )
    insert = insert_into(connection, HOST.contacts)
    fields = {field.name: insert.excluded[field.name] for field in attrs.fields(Person)}
    connection.execute(
        insert.on_conflict_do_update(index_elements=["id"], set_=fields),
        [{"id": id_, "tenant_id": TENANT, **attrs.asdict(one)} for id_, one in people.items()],
    )


def _of(campaign_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(_MESSAGES.tenant_id == TENANT, _MESSAGES.campaign_id == campaign_id)


def review_all_but_one(connection: sa.Connection, campaign_id: UUID) -> None:
    """A stand-in for the person who reads every message, and likes all but one."""
    one = connection.scalars(
        sa.select(_MESSAGES.id).where(_of(campaign_id)).order_by(_MESSAGES.id).limit(1)
    ).one()
    decision = sa.case((_MESSAGES.id == one, _REJECTED), else_=_APPROVED)
    connection.execute(sa.update(HOST.messages).where(_of(campaign_id)).values(status=decision))


def tally(connection: sa.Connection, campaign_id: UUID) -> ReviewTally:
    """What was decided about the campaign's messages."""
    statuses = connection.execute(
        sa.select(_MESSAGES.status, sa.func.count().label("number"))
        .where(_of(campaign_id))
        .group_by(_MESSAGES.status)
    )
    counts = {row.status: row.number for row in statuses}
    approved, rejected = counts.pop(_APPROVED, 0), counts.pop(_REJECTED, 0)
    return ReviewTally(approved, rejected, undecided=sum(counts.values()))


def costs(connection: sa.Connection, campaign_id: UUID) -> tuple[ChannelCosts, ...]:
    """What the campaign's messages cost, by channel."""
    rows = connection.execute(
        sa.select(
            _MESSAGES.channel,
            sa.func.count(),
            sa.func.sum(sa.case((_MESSAGES.status == _APPROVED, 1), else_=0)),
            sa.func.sum(_MESSAGES.generation_cost),
        )
        .where(_of(campaign_id))
        .group_by(_MESSAGES.channel)
        .order_by(sa.func.min(_MESSAGES.sequence_step))
    )
    return tuple(ChannelCosts(*row) for row in rows)


def export_lines(store: CampaignStore, campaign: Campaign) -> Iterator[str]:
    """A line of JSON for each approved message of a contact that may be written to."""
    contacts = HOST.contacts.c
    fields = [contacts[field.name] for field in attrs.fields(Person)]
    for one in store.contacts.exportable(campaign.id):
        mine = sa.and_(contacts.tenant_id == TENANT, contacts.id == one.contact_id)
        person = store.connection.execute(sa.select(*fields).where(mine)).mappings().one()
        # By their ids: messages of earlier revisions, or of steps since removed, stay behind.
        ids = [slot.message_id(one.id, one.revision) for slot in campaign.steps.slots()]
        messages = store.connection.execute(
            sa.select(HOST.messages)
            .where(
                _of(campaign.id),
                _MESSAGES.id.in_(ids),
                _MESSAGES.status == _APPROVED,
            )
            .order_by(_MESSAGES.sequence_step, _MESSAGES.variant)
        )
        for message in messages:
            step = campaign.steps.by_key(message.step_key)
            yield json.dumps(
                {
                    "message_id": str(message.id),
                    "campaign_id": str(campaign.id),
                    "contact": {**person, "id": str(one.contact_id)},
                    "step": message.sequence_step,
                    "step_key": message.step_key,
                    "label": step.label,
                    "day_offset": step.day_offset,
                    "condition": step.condition,
                    "needs_pdf": step.needs_pdf,
                    "channel": message.channel,
                    "variant": message.variant,
                    "subject": message.subject,
                    "body": message.body,
                },
                ensure_ascii=False,
            )


def write_whole(out: Path, lines: list[str]) -> None:
    """Write a file that is there completely or not at all."""
    partial = out.with_name(f"{out.name}.part")
    try:
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"cannot write {out}: {error.strerror}") from None
