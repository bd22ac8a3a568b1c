"""The lines of an export file: one JSON object for each approved message.

The messages are those of a table with the columns of ``db.MinimalHost``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, TextIO
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.cli.contacts_csv import FIELDS
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


@attrs.define
class MessageFile:
    """Writes the approved messages of each contact to a file: the function ``push``.

    ``error`` is the one that a push has raised.
    """

    engine: sa.Engine
    tenant_id: UUID
    contacts: sa.Table
    messages: sa.Table
    file: TextIO
    error: Exception | None = None

    def push(self, task: ExportTask) -> None:
        """Write the messages of one contact, and keep the error if that is not possible."""
        try:
            self._write(task)
        except Exception as error:
            self.error = error
            raise

    def _write(self, task: ExportTask) -> None:
        """Write the messages of one contact, and wait until the disk has them."""
        columns = self.contacts.c
        with self.engine.begin() as connection:
            contact = connection.execute(
                sa.select(*(columns[field] for field in FIELDS)).where(
                    columns.tenant_id == self.tenant_id, columns.id == task.contact_id
                )
            ).one()
            messages = load_approved(connection, self.messages, self.tenant_id, task)
        for message in messages:
            self.file.write(write_line(message, contact._asdict(), task))
        self.file.flush()
        os.fsync(self.file.fileno())  # Then the contact is marked as exported.
