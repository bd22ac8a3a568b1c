"""Exporting approved messages to a file: one JSON object for each message, on a line of its own.

The messages are those of a table with the columns of ``db.MinimalHost``.

Only the owner of the file can read it, since its content is personal data. So a symbolic link is
not followed, since another user may have placed it, and what is no regular file (a device, a FIFO)
is refused.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TextIO
from uuid import UUID

import sqlalchemy as sa

from campaign_model.cli.console import UserError
from campaign_model.worker import ExportReport, ExportTask, run_export


def export_messages(
    engine: sa.Engine,
    tenant_id: UUID,
    campaign_id: UUID,
    messages: sa.Table,
    load_contact: Callable[[sa.Connection, UUID], Mapping[str, Any]],
    path: Path,
    mode: Literal["a", "w", "x"],
    *,
    actor: str = "exporter",
) -> tuple[int, ExportReport]:
    """Write the approved messages of each contact to a file, and mark the contact as exported.

    ``load_contact`` returns the fields of the contact with an id. ``mode`` is that of
    ``open_output``. Return the number of lines of the file, which is removed if it is empty. Raise
    ``UserError`` if the file cannot be written, and every other error of a contact's messages.
    """
    errors: list[Exception] = []

    def push(task: ExportTask) -> None:
        try:
            with engine.begin() as connection:
                contact = load_contact(connection, task.contact_id)
                rows = connection.execute(_select_approved(messages, tenant_id, task)).all()
            file.writelines(_compose_line(row, contact, task) for row in rows)
            file.flush()
            os.fsync(file.fileno())  # Then the contact is marked as exported.
        except Exception as error:
            errors.append(error)
            raise

    with open_output(path, mode) as file:
        try:
            report = run_export(
                engine, tenant_id, campaign_id, push, max_equal_failures=1, actor=actor
            )
        finally:
            if os.fstat(file.fileno()).st_size == 0:
                path.unlink()
    if errors and isinstance(errors[0], OSError):
        raise UserError(
            f"cannot write {path}: {errors[0].strerror}; {report.remaining} contacts are not "
            "exported: name another file in the next export"
        )
    if errors:
        raise errors[0]
    return path.read_bytes().count(b"\n") if path.exists() else 0, report


def _select_approved(messages: sa.Table, tenant_id: UUID, task: ExportTask) -> sa.Select[Any]:
    """Select the approved messages of one contact, in the order of their steps."""
    # Selecting by id leaves out messages of earlier revisions and of removed steps.
    return (
        sa.select(messages)
        .where(
            messages.c.tenant_id == tenant_id,
            messages.c.id.in_(task.message_ids),
            messages.c.status == "approved",
        )
        .order_by(messages.c.sequence_step, messages.c.variant)
    )


def _compose_line(message: sa.Row[Any], contact: Mapping[str, Any], task: ExportTask) -> str:
    """Compose the line of a message, with its line break.

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


def check_output_path(path: Path) -> None:
    """Raise ``UserError`` if ``open_output`` would refuse ``path``. Write nothing."""
    if path.is_symlink():
        raise UserError(f"cannot write {path}: it is a symbolic link")
    if path.exists() and not path.is_file():
        kind = "directory" if path.is_dir() else "device, a FIFO or a socket, not a file"
        raise UserError(f"cannot write {path}: it is a {kind}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write {path}: the directory {path.parent} does not exist or is read-only"
        )


def open_output(path: Path, mode: Literal["a", "w", "x"]) -> TextIO:
    """Open a file for writing UTF-8 text, with the permissions 0600.

    The modes are those of ``open``: append to a file, empty it, or create one. Raise ``UserError``
    if that is not possible, or if ``path`` is not a regular file.
    """
    if mode == "x" and os.path.lexists(path):
        raise UserError(f"{path} exists already; name a new file with  --out")
    check_output_path(path)
    try:
        file = open(path, mode, encoding="utf-8", opener=_open_privately)  # noqa: SIM115 - returned
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"cannot write {path}: it is not a regular file")
    try:
        os.fchmod(file.fileno(), 0o600)  # An existing file may have other permissions.
        if mode == "w":
            file.truncate(0)
    except BaseException:
        file.close()
        raise
    return file


def _open_privately(path: str, flags: int) -> int:
    """Open a file for ``open``, which may have changed since the check, and do not empty it yet."""
    flags &= ~os.O_TRUNC
    # Without O_NONBLOCK, a FIFO waits for a reader.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
