"""The messages of the demo's campaign: writing, reviewing and exporting them.

Sample text takes the place of a language model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.claims import Generated
from campaign_model.cli.demo.contacts import TENANT, Contact
from campaign_model.generation_config import GenerationConfig, effective_config
from campaign_model.lifecycle import ReviewTally
from campaign_model.steps import MessageSlot, Step, StepSequence
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
    """Writes, reviews and exports the messages of one campaign, in the host's ``table``.

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

    def review_all_but_one(self, connection: sa.Connection) -> None:
        """Reject the message with the lowest id and approve all others, as a reviewer would."""
        message_id = self.table.c.id
        lowest_id = connection.scalar(
            sa.select(message_id).where(self._in_campaign).order_by(message_id).limit(1)
        )
        decision = sa.case((message_id == lowest_id, "rejected"), else_="approved")
        connection.execute(sa.update(self.table).where(self._in_campaign).values(status=decision))

    def count_decisions(self, connection: sa.Connection) -> ReviewTally:
        """Count the approved, rejected and undecided messages."""
        status = self.table.c.status
        rows = connection.execute(
            sa.select(status, sa.func.count()).where(self._in_campaign).group_by(status)
        )
        counts: dict[str, int] = dict(rows.all())
        approved, rejected = counts.pop("approved", 0), counts.pop("rejected", 0)
        return ReviewTally(approved, rejected, undecided=sum(counts.values()))

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

    def build_export_lines(self, store: CampaignStore, steps: StepSequence) -> Iterator[str]:
        """Build a line of JSON for each approved message of each exportable contact."""
        columns = self.table.c
        for campaign_contact in store.contacts.exportable(self.campaign_id):
            contact_id, revision = campaign_contact.contact_id, campaign_contact.revision
            # Selecting by id leaves out messages of earlier revisions and of removed steps.
            message_ids = [slot.message_id(campaign_contact.id, revision) for slot in steps.slots()]
            messages = store.connection.execute(
                sa.select(self.table)
                .where(self._in_campaign, columns.id.in_(message_ids))
                .where(columns.status == "approved")
                .order_by(columns.sequence_step, columns.variant)
            )
            for message in messages:
                step = steps.by_key(message.step_key)
                line = {
                    "message_id": str(message.id),
                    "campaign_id": str(self.campaign_id),
                    "contact": attrs.asdict(self.contacts[contact_id]) | {"id": str(contact_id)},
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
                }
                yield f"{json.dumps(line, ensure_ascii=False)}\n"
