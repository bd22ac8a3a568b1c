"""Writing the messages of one contact from sample text, in place of a language model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Generated, Outcome
from campaign_model.cli.demo.host_tables import TENANT
from campaign_model.generation_config import GenerationConfig, effective_config
from campaign_model.steps import Step
from campaign_model.vocabulary import STANDARD
from campaign_model.worker import Task

__all__ = ["FIELDS_IN_EVERY_MESSAGE", "compose_message", "write_messages"]

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
    contact: Mapping[str, Any], step: Step, variant: str, config: GenerationConfig
) -> tuple[str | None, str]:
    """Compose subject and body within the channel's limits; the subject may be ``None``."""
    tone = effective_config(config, step).get("tone")
    greeting, farewell = _GREETING_AND_FAREWELL.get(str(tone), _DEFAULT_GREETING_AND_FAREWELL)
    text = "\n\n".join((greeting, _BODIES[variant], f"({step.label})", farewell))
    body = text.format_map(contact)
    channel = STANDARD.channel(step.channel)
    if channel is None:
        return None, body
    subject = f"{step.label}: an idea for {contact['company']}" if channel.has_subject else None
    return subject, body[: channel.max_length]


def write_messages(
    engine: sa.Engine,
    host: db.MinimalHost,
    task: Task,
    on_saved: Callable[[], None] | None = None,
) -> Outcome:
    """Write the messages of one contact that do not exist yet.

    A checkpoint saves each message and books its cost in one transaction. After a worker dies,
    the next one finds its messages by their ids and does not pay for them again. ``on_saved`` is
    called after every message.
    """
    contacts, messages = host.contacts, host.messages
    with engine.begin() as connection:
        contact_row = connection.execute(
            sa.select(contacts).where(
                contacts.c.tenant_id == TENANT, contacts.c.id == task.contact_id
            )
        )
        contact = dict(contact_row.mappings().one())
        existing_ids = connection.scalars(
            sa.select(messages.c.id).where(
                messages.c.tenant_id == TENANT, messages.c.campaign_contact_id == task.claim.id
            )
        ).all()
    for slot in task.slots:
        message_id = task.message_id(slot)
        if message_id in existing_ids:
            continue
        step = task.steps.by_key(slot.step_key)
        subject, body = compose_message(contact, step, slot.variant, task.generation_config)
        time.sleep(_MODEL_CALL_SECONDS)
        cost = len(body) * _PRICE_PER_CHARACTER
        insert = sa.insert(messages).values(
            id=message_id,
            tenant_id=TENANT,
            campaign_id=task.claim.campaign_id,
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
        task.checkpoint(cost, partial(_execute, insert))
        if on_saved is not None:
            on_saved()
    return Generated(Decimal(0))  # The checkpoints have booked the cost of every message.


def _execute(statement: sa.Insert, connection: sa.Connection) -> None:
    connection.execute(statement)
