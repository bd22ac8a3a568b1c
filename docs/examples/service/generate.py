"""What you replace: how a message is written, and how it is sent.

The workers call ``generate`` for every message that a contact is to get, and ``send`` for every
approved message when the campaign is exported. The sample writes from a template and sends nothing.
Put a call of your language model into ``generate`` and of your mail system into ``send``, then
start the service again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from campaign_model import STANDARD, Step
from service.tables import Message

SECONDS_PER_CALL = 0.2
"""How long the sample pretends to think about one message."""

GREETINGS = {"professional": "Dear", "formal": "Dear", "casual": "Hi"}
OPENINGS = {
    "a": "teams like yours at {company} tell us that outreach eats a day of every week.",
    "b": "how does {company} decide whom to write to first?",
    "c": "three companies much like {company} changed how they find customers this year.",
}


async def generate(
    contact: Mapping[str, Any], step: Step, variant: str, settings: Mapping[str, Any]
) -> Message:
    """Write one message to ``contact`` for ``step``.

    ``contact`` is the row of the table of contacts. ``variant`` is a, b or c. ``settings`` are
    those of the campaign with those of the step, such as ``tone`` and ``language``. If this
    function raises, the contact fails; the page shows the type of the error, and "Retry failed".
    """
    await asyncio.sleep(SECONDS_PER_CALL)
    greeting = GREETINGS.get(str(settings.get("tone")), "Hello")
    text = (
        f"{greeting} {contact['first_name']},\n\n"
        f"{OPENINGS[variant].format_map(contact)} We built something that helps.\n\n"
        "Shall I show you in ten minutes?"
    )
    channel = STANDARD.channel(step.channel)
    has_subject = channel is not None and channel.has_subject
    return Message(
        body=text if channel is None else text[: channel.max_length],
        subject=f"{step.label}: an idea for {contact['company']}" if has_subject else None,
        cost=len(text) * Decimal("0.0000025"),
    )


async def send(contact: Mapping[str, Any], message: Mapping[str, Any]) -> None:
    """Send one approved message.

    After a crash, a message can be sent a second time, with the same ``message["id"]``. Give this
    id to your mail system as idempotency key.
    """
    logging.getLogger(__name__).info("to %s: message %s", contact["first_name"], message["id"])
