"""What the commands ``campaigns cancel``, ``retry-failed`` and ``export`` do."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TextIO
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Changed
from campaign_model.cli.console import (
    Interruption,
    UserError,
    format_count,
    open_console,
    print_json,
)
from campaign_model.cli.contacts_csv import FIELDS
from campaign_model.cli.database import open_database, parse_url, require_table
from campaign_model.cli.message_lines import load_approved, write_line
from campaign_model.cli.output_files import open_output
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import CampaignStore, transact
from campaign_model.worker import ExportTask, run_export

_HOW_TO_GENERATE = {
    Status.GENERATING: "Workers will claim them.",
    Status.READY: "Start the generation to generate them.",
    Status.REVIEW: "Request changes and start the generation to generate them.",
}
"""What has to be done in each status in which failed contacts can be retried."""


def cancel_generation(
    url: str, tenant_id: UUID, campaign_id: UUID, *, reason: str | None, actor: str, as_json: bool
) -> None:
    """Cancel the generation and print what it has left. Raise the store's errors."""
    with open_database(parse_url(url)) as engine:
        campaign, progress = transact(
            engine,
            tenant_id,
            lambda store: (
                store.campaigns.apply(campaign_id, Action.CANCEL_GENERATION, reason=reason),
                store.generation.progress(campaign_id),
            ),
            actor=actor,
        )
    if as_json:
        print_json({"campaign": campaign, "progress": progress})
        return
    counts = progress.by_status
    waiting = counts[ContactStatus.PENDING] + counts[ContactStatus.ENRICHMENT_OK]
    console = open_console()
    console.print(
        f"The campaign is {campaign.status}. Contacts: {counts[ContactStatus.GENERATED]} "
        f"generated, {counts[ContactStatus.FAILED]} failed, {waiting} waiting."
    )
    held = counts[ContactStatus.GENERATING]
    if held:
        console.print(
            f"Workers still hold {format_count(held, 'contact')}. The outcomes and costs will be "
            "recorded."
        )


def retry_failed_contacts(
    url: str,
    tenant_id: UUID,
    campaign_id: UUID,
    contact_ids: Collection[UUID] | None,
    *,
    actor: str,
    as_json: bool,
) -> None:
    """Let failed contacts wait again, and print their number. Raise the store's errors."""

    def retry(store: CampaignStore) -> tuple[Changed, Status]:
        changed = store.generation.retry_failed(campaign_id, contact_ids)
        return changed, store.campaigns.get(campaign_id).status

    with open_database(parse_url(url)) as engine:
        changed, status = transact(engine, tenant_id, retry, actor=actor)
    if as_json:
        print_json(changed)
        return
    console = open_console()
    if changed.changed:
        console.print(
            f"Waiting again: {format_count(changed.changed, 'contact')}. {_HOW_TO_GENERATE[status]}"
        )
    else:
        console.print("No contact has failed.")
    for contact_id in changed.skipped:
        console.print(f"{contact_id} is no failed contact of this campaign.")


@attrs.frozen
class _MessageFile:
    """Writes the approved messages of each contact to a file: the function ``push``."""

    engine: sa.Engine
    tenant_id: UUID
    contacts: sa.Table
    messages: sa.Table
    file: TextIO

    def push(self, task: ExportTask) -> None:
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


def export_messages(
    url: str,
    tenant_id: UUID,
    campaign_id: UUID,
    path: Path,
    *,
    contacts_table: str,
    messages_table: str,
    actor: str,
    as_json: bool,
) -> None:
    """Export the approved messages to a new file, and print their number.

    Raise ``UserError`` for a file that exists or cannot be written and for tables of another shape,
    ``Interruption`` after Ctrl-C, and the store's errors.
    """
    host = db.MinimalHost(db.HostTables(contacts=contacts_table), messages_table)
    with open_database(parse_url(url)) as engine:
        for table, option in ((host.contacts, "--contacts"), (host.messages, "--messages")):
            require_table(
                engine,
                table.name,
                option,
                columns=table.c.keys(),
                otherwise="export with run_export in a program of your own, or name another table",
            )
        with open_output(path, must_be_new=True) as file:
            messages = _MessageFile(engine, tenant_id, host.contacts, host.messages, file)
            try:
                report = run_export(
                    engine, tenant_id, campaign_id, messages.push, max_equal_failures=1, actor=actor
                )
            except KeyboardInterrupt:
                raise Interruption(
                    f"interrupted; export the remaining contacts to another file than {path}"
                ) from None
            finally:
                if file.tell() == 0:
                    path.unlink()
        lines = len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
    if report.failures:
        raise UserError(
            f"cannot write {path}: not exported: {format_count(report.remaining, 'contact')}; name "
            "another file in the next export"
        )
    if as_json:
        print_json({"file": str(path) if lines else None, "messages": lines, "report": report})
    elif lines:
        open_console().print(
            f"{path} has {format_count(lines, 'message')} of "
            f"{format_count(report.exported, 'contact')}."
        )
    else:
        open_console().print("No contact with an approved message was left to export.")
