"""What a host has around this library, in small: people, messages, a reviewer and an exporter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.cli.console import UserError
from campaign_model.cli.contacts_csv import Person
from campaign_model.lifecycle import ReviewTally
from campaign_model.store import CampaignStore
from campaign_model.store.connection import insert_into
from campaign_model.store.types import Uuid

__all__ = [
    "HOST",
    "TENANT",
    "ChannelCosts",
    "choose_host",
    "costs",
    "export_lines",
    "make_tables",
    "review_all_but_one",
    "save_people",
    "tally",
    "write_whole",
]

HOST = db.MinimalHost(db.HostTables())
"""The tables of a database that the demo has to itself."""

BESIDE = db.MinimalHost(
    db.HostTables(contacts="campaign_model_demo_contacts"), messages="campaign_model_demo_messages"
)
"""In a database with tables of its own, people and messages stand in tables beside them."""

TENANT = UUID("d3300000-0000-4000-8000-000000000001")
"""Always the same, so that a second run finds the first one's contacts."""

_APPROVED, _REJECTED = "approved", "rejected"


@attrs.frozen
class ChannelCosts:
    """A campaign's messages in one channel: how many, how many approved, and their cost."""

    channel: str
    messages: int
    approved: int
    cost: Decimal


def choose_host(engine: sa.Engine) -> db.MinimalHost:
    """Where the demo keeps people and messages in this database.

    A database whose own tables are not like those that the demo writes to is refused, unless this
    library's tables are in it already.
    """
    inspector = sa.inspect(engine)
    for table in (HOST.tenants, HOST.contacts, HOST.messages):
        if not inspector.has_table(table.name):
            continue
        present = {column["name"] for column in inspector.get_columns(table.name)}
        strange = [name for name in table.c.keys() if name not in present]  # noqa: SIM118
        strange += [one for one in _needed(inspector, table.name) if one not in table.c]
        if strange and inspector.has_table(db.VERSION_TABLE):
            return BESIDE
        if strange:
            raise UserError(
                f"the database has a table {table.name} of its own, which differs in "
                f"{', '.join(strange)}; give the demo a database to itself, or run  campaign-model "
                "db adopt  first"
            )
    return HOST


def make_tables(engine: sa.Engine, host: db.MinimalHost) -> None:
    """Everything that the demo needs and that is not there yet."""
    db.init(engine, with_host_tables=host is HOST)
    with engine.begin() as connection:
        host.create_referred(connection)
        host.create_referring(connection)


def _needed(inspector: sa.Inspector, table: str) -> list[str]:
    """The columns that a new row must have a value for."""
    return [
        column["name"]
        for column in inspector.get_columns(table)
        if not column["nullable"] and not column["default"]
    ]


def save_people(
    connection: sa.Connection, host: db.MinimalHost, people: Mapping[UUID, Person]
) -> None:
    """Keep the tenant and the contacts; of those known already, what the file says now."""
    _refer(connection, HOST.tenants.name, [{"id": TENANT, "name": "Demo"}])
    ids = [{"id": id_, "tenant_id": TENANT} for id_ in people]
    if host is not HOST:
        _refer(connection, HOST.contacts.name, ids)
    insert = insert_into(connection, host.contacts)
    fields = {field.name: insert.excluded[field.name] for field in attrs.fields(Person)}
    connection.execute(
        insert.on_conflict_do_update(index_elements=["id"], set_=fields),
        [row | attrs.asdict(one) for row, one in zip(ids, people.values(), strict=True)],
    )


def _refer(connection: sa.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    """Let the host have these rows, for ours to refer to; text that it asks for besides is the id.

    Raises ``UserError`` where it asks for more than text.
    """
    inspector = sa.inspect(connection)
    more = [name for name in _needed(inspector, table) if name not in rows[0]]
    text = {
        column["name"]
        for column in inspector.get_columns(table)
        if isinstance(column["type"], sa.String)
    }
    if not text.issuperset(more):
        raise UserError(
            f"a row of {table} needs {', '.join(more)}, which the demo cannot make up; give it a "
            "database to itself"
        )
    values = [row | {name: str(row["id"]) for name in more} for row in rows]
    columns = (
        sa.Column(name, Uuid if isinstance(value, UUID) else sa.Text)
        for name, value in values[0].items()
    )
    known = sa.Table(table, sa.MetaData(), *columns)
    connection.execute(insert_into(connection, known).on_conflict_do_nothing(), values)


def _of(host: db.MinimalHost, campaign_id: UUID) -> sa.ColumnElement[bool]:
    messages = host.messages.c
    return sa.and_(messages.tenant_id == TENANT, messages.campaign_id == campaign_id)


def review_all_but_one(connection: sa.Connection, host: db.MinimalHost, campaign_id: UUID) -> None:
    """A stand-in for the person who reads every message, and likes all but one."""
    one = connection.scalars(
        sa.select(host.messages.c.id)
        .where(_of(host, campaign_id))
        .order_by(host.messages.c.id)
        .limit(1)
    ).one()
    decision = sa.case((host.messages.c.id == one, _REJECTED), else_=_APPROVED)
    connection.execute(
        sa.update(host.messages).where(_of(host, campaign_id)).values(status=decision)
    )


def tally(connection: sa.Connection, host: db.MinimalHost, campaign_id: UUID) -> ReviewTally:
    """What was decided about the campaign's messages."""
    statuses = connection.execute(
        sa.select(host.messages.c.status, sa.func.count().label("number"))
        .where(_of(host, campaign_id))
        .group_by(host.messages.c.status)
    )
    counts = {row.status: row.number for row in statuses}
    approved, rejected = counts.pop(_APPROVED, 0), counts.pop(_REJECTED, 0)
    return ReviewTally(approved, rejected, undecided=sum(counts.values()))


def costs(
    connection: sa.Connection, host: db.MinimalHost, campaign_id: UUID
) -> tuple[ChannelCosts, ...]:
    """What the campaign's messages cost, by channel."""
    rows = connection.execute(
        sa.select(
            host.messages.c.channel,
            sa.func.count(),
            sa.func.sum(sa.case((host.messages.c.status == _APPROVED, 1), else_=0)),
            sa.func.sum(host.messages.c.generation_cost),
        )
        .where(_of(host, campaign_id))
        .group_by(host.messages.c.channel)
        .order_by(sa.func.min(host.messages.c.sequence_step))
    )
    return tuple(ChannelCosts(*row) for row in rows)


def export_lines(store: CampaignStore, host: db.MinimalHost, campaign: Campaign) -> Iterator[str]:
    """A line of JSON for each approved message of a contact that may be written to."""
    contacts = host.contacts.c
    fields = [contacts[field.name] for field in attrs.fields(Person)]
    for one in store.contacts.exportable(campaign.id):
        mine = sa.and_(contacts.tenant_id == TENANT, contacts.id == one.contact_id)
        person = store.connection.execute(sa.select(*fields).where(mine)).mappings().one()
        # By their ids: messages of earlier revisions, or of steps since removed, stay behind.
        ids = [slot.message_id(one.id, one.revision) for slot in campaign.steps.slots()]
        messages = store.connection.execute(
            sa.select(host.messages)
            .where(
                _of(host, campaign.id),
                host.messages.c.id.in_(ids),
                host.messages.c.status == _APPROVED,
            )
            .order_by(host.messages.c.sequence_step, host.messages.c.variant)
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
