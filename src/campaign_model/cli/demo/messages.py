"""The messages of the demo's campaign: writing and reviewing them.

Sample text takes the place of a language model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.claims import Generated
from campaign_model.cli.contacts_csv import Contact
from campaign_model.cli.demo.contacts import TENANT
from campaign_model.generation_config import GenerationConfig, effective_config
from campaign_model.lifecycle import ReviewTally
from campaign_model.steps import MessageSlot, Step
from campaign_model.store import CampaignStore
from campaign_model.vocabulary import STANDARD
from campaign_model.worker import Task

FIELDS_IN_EVERY_MESSAGE = ("first_name", "company")
"""The contact's fields that every message mentions."""

_PRICE_PER_CHARACTER = Decimal("0.000002375")

_MODEL_CALL_SECONDS = 0.01
"""How long a call of a pretended language model takes."""

_GREETING_AND_FAREWELL = {
    "professional": ("Dear {first_name},", "Kind regards"),
    "formal": ("Dear {first_name},", "Yours sincerely"),
    "casual": ("Hi {first_name},", "Cheers"),
}
"""By tone."""

_DEFAULT_GREETING_AND_FAREWELL = ("Hello {first_name},", "All the best")

_BODIES = {
    "a": "teams like yours at {company} tell us that preparing outreach eats a day of every week. "
    "We built something that gives most of that day back.",
    "b": "how does {company} decide whom to write to first? We have been collecting answers, and "
    "some of them surprised us.",
    "c": "three companies much like {company} changed how they find customers this year. I could "
    "show you in ten minutes what they did.",
}
"""By variant."""


def compose_message(
    contact: Contact, step: Step, variant: str, config: GenerationConfig
) -> tuple[str | None, str]:
    """Compose subject and body within the channel's limits; the subject may be ``None``."""
    tone = effective_config(config, step).get("tone")
    greeting, farewell = _GREETING_AND_FAREWELL.get(str(tone), _DEFAULT_GREETING_AND_FAREWELL)
    text = "\n\n".join((greeting, _BODIES[variant], f"({step.label})", farewell))
    body = text.format_map(attrs.asdict(contact))
    channel = STANDARD.channel(step.channel)
    if channel is None:
        return None, body
    subject = f"{step.label}: an idea for {contact.company}" if channel.has_subject else None
    return subject, body[: channel.max_length]


@attrs.frozen
class CampaignMessages:
    """Writes and reviews the messages of one campaign, in the host's ``table``.

    ``contacts`` are the people that the messages are for, by id.
    """

    table: sa.Table
    campaign_id: UUID
    contacts: Mapping[UUID, Contact]

    def write_missing(self, engine: sa.Engine, task: Task) -> Generated:
        """Write the messages of one contact that do not exist yet.

        After a worker dies, the next one finds its messages by their ids and does not pay again.
        """
        columns = self.table.c
        with engine.begin() as connection:
            existing_ids = connection.scalars(
                sa.select(columns.id).where(
                    columns.tenant_id == TENANT, columns.campaign_contact_id == task.claim.id
                )
            ).all()
        for slot in task.slots:
            if task.message_id(slot) not in existing_ids:
                self.write(task, slot)
        return Generated(Decimal(0))  # The checkpoints have booked the cost of every message.

    def write(self, task: Task, slot: MessageSlot) -> None:
        """Write one message. A checkpoint saves it and books its cost in one transaction."""
        subject, body = compose_message(
            self.contacts[task.contact_id],
            task.steps.by_key(slot.step_key),
            slot.variant,
            task.generation_config,
        )
        time.sleep(_MODEL_CALL_SECONDS)
        cost = len(body) * _PRICE_PER_CHARACTER
        insert = sa.insert(self.table).values(
            id=task.message_id(slot),
            tenant_id=TENANT,
            campaign_id=self.campaign_id,
            campaign_contact_id=task.claim.id,
            contact_id=task.contact_id,
            revision=task.claim.revision,
            step_key=slot.step_key,
            sequence_step=slot.position,
            variant=slot.variant,
            channel=slot.channel,
            subject=subject,
            body=body,
            generation_cost=cost,
        )

        def save(connection: sa.Connection) -> None:
            connection.execute(insert)

        task.checkpoint(cost, save)

    @property
    def _in_campaign(self) -> sa.ColumnElement[bool]:
        """The condition that selects the campaign's messages."""
        columns = self.table.c
        return sa.and_(columns.tenant_id == TENANT, columns.campaign_id == self.campaign_id)

    def load_contact(self, _connection: sa.Connection, id_: UUID) -> dict[str, Any]:
        """Return the fields of a contact."""
        return attrs.asdict(self.contacts[id_])

    def load_examples(self, connection: sa.Connection) -> Sequence[sa.Row[Any]]:
        """Load one message of each channel: that with the lowest id."""
        columns = self.table.c
        lowest_ids = (
            sa.select(sa.func.min(sa.cast(columns.id, sa.Text)))
            .where(self._in_campaign)
            .group_by(columns.channel)
        )
        return connection.execute(
            sa.select(self.table)
            .where(self._in_campaign, sa.cast(columns.id, sa.Text).in_(lowest_ids))
            .order_by(columns.sequence_step)
        ).all()

    def review_all_but_one(self, connection: sa.Connection) -> None:
        """Reject the message with the lowest id and approve all others, as a reviewer would."""
        message_id = self.table.c.id
        lowest_id = connection.scalar(
            sa.select(message_id).where(self._in_campaign).order_by(message_id).limit(1)
        )
        decision = sa.case((message_id == lowest_id, "rejected"), else_="approved")
        connection.execute(sa.update(self.table).where(self._in_campaign).values(status=decision))

    def count_decisions(self, store: CampaignStore) -> ReviewTally:
        """Count the approved, rejected and undecided messages."""
        status = self.table.c.status
        return store.campaigns.review_tally(
            self.campaign_id,
            self.table,
            is_approved=status == "approved",
            is_rejected=status == "rejected",
        )

    def load_costs(self, connection: sa.Connection) -> Sequence[tuple[str, str, int, Decimal]]:
        """Load the number of messages and their cost, for each channel and status."""
        channel, status = self.table.c.channel, self.table.c.status
        rows = connection.execute(
            sa.select(channel, status, sa.func.count(), sa.func.sum(self.table.c.generation_cost))
            .where(self._in_campaign)
            .group_by(channel, status)
            .order_by(channel, status)
        )
        return rows.all()
