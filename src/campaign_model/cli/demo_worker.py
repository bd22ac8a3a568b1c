"""The demo's message generation engine: plain text in the place of a language model."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Generated, Outcome
from campaign_model.cli.database import open_engine
from campaign_model.cli.demo_host import TENANT, choose_host
from campaign_model.generation_config import GenerationConfig, effective_config
from campaign_model.steps import Step
from campaign_model.vocabulary import STANDARD
from campaign_model.worker import Task, run_worker

__all__ = ["PRICE", "compose", "die_at_work", "write_messages"]

PRICE = Decimal("0.000002375")
"""Of one character written."""

_MODEL_SECONDS = 0.01

_TONES = {
    "professional": ("Dear {first_name},", "Kind regards"),
    "formal": ("Dear {first_name},", "Yours sincerely"),
    "casual": ("Hi {first_name},", "Cheers"),
}
_ANY_TONE = ("Hello {first_name},", "All the best")

_ANGLES = {
    "a": "teams like yours at {company} tell us that preparing outreach eats a day of every week. "
    "We built something that gives most of that day back.",
    "b": "how does {company} decide whom to write to first? We have been collecting answers, and "
    "some of them surprised us.",
    "c": "three companies much like {company} changed how they find customers this year. I could "
    "show you in ten minutes what they did.",
}


def compose(
    contact: Mapping[str, Any], step: Step, variant: str, config: GenerationConfig
) -> tuple[str | None, str]:
    """Subject (where the channel has one) and body, within the channel's limit."""
    tone = effective_config(config, step).get("tone")
    greeting, farewell = _TONES.get(str(tone), _ANY_TONE)
    text = "\n\n".join((greeting, _ANGLES[variant], f"({step.label})", farewell))
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
    """Write one contact's messages, each saved in one transaction with what it cost.

    What an earlier worker saved before it died is there under the same ids; nobody pays it again.
    """
    contacts, messages = host.contacts, host.messages
    with engine.begin() as connection:
        mine = sa.and_(contacts.c.tenant_id == TENANT, contacts.c.id == task.contact_id)
        contact = dict(connection.execute(sa.select(contacts).where(mine)).mappings().one())
        written = connection.scalars(
            sa.select(messages.c.id).where(
                messages.c.tenant_id == TENANT, messages.c.campaign_contact_id == task.claim.id
            )
        ).all()
    for slot in task.slots:
        id_ = task.message_id(slot)
        if id_ in written:
            continue
        step = task.steps.by_key(slot.step_key)
        subject, body = compose(contact, step, slot.variant, task.generation_config)
        time.sleep(_MODEL_SECONDS)
        cost = len(body) * PRICE
        insert = sa.insert(messages).values(
            id=id_,
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
    return Generated(Decimal(0))  # Every message's cost is booked already.


def _execute(statement: sa.Insert, connection: sa.Connection) -> None:
    connection.execute(statement)


def die_at_work(  # pragma: no cover - runs in a process that is killed before it can tell
    url: str, campaign_id: UUID, fatal: int, lease: timedelta, actor: str
) -> None:
    """A worker that is killed once the first message of its ``fatal``-th contact is saved."""
    engine = open_engine(sa.make_url(url))
    host = choose_host(engine)
    numbers = itertools.count(1)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def generate(task: Task) -> Outcome:
        return write_messages(engine, host, task, die if next(numbers) == fatal else None)

    run_worker(engine, TENANT, campaign_id, generate, concurrency=3, lease=lease, actor=actor)
