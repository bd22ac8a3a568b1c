"""The lines of an export file: one JSON object for each approved message.

The messages are those of a table with the columns of ``db.MinimalHost``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.worker import ExportTask


def load_approved(
    connection: sa.Connection, messages: sa.Table, tenant_id: UUID, task: ExportTask
) -> Sequence[sa.Row[Any]]:
    """Load the approved messages of one contact, in the order of their steps."""
    columns = messages.c
    # Selecting by id leaves out messages of earlier revisions and of removed steps.
    return connection.execute(
        sa.select(messages)
        .where(
            columns.tenant_id == tenant_id,
            columns.id.in_(task.message_ids),
            columns.status == "approved",
        )
        .order_by(columns.sequence_step, columns.variant)
    ).all()


def write_line(message: sa.Row[Any], contact: Mapping[str, Any], task: ExportTask) -> str:
    """Write a message as a line of JSON, with its line break. ``contact`` are its fields.

    The line has the id of the message. If a contact is pushed a second time, a receiver recognises
    its messages by these ids.
    """
    step = task.steps.by_key(message.step_key)
    line = {
        "message_id": str(message.id),
        "campaign_id": str(task.claim.campaign_id),
        "contact": {**contact, "id": str(task.contact_id)},
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
    return f"{json.dumps(line, ensure_ascii=False)}\n"
