"""The demo's export: approved messages as JSON Lines, in a file that is never half written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.cli.console import UserError
from campaign_model.cli.demo.contacts_csv import Contact
from campaign_model.cli.demo.host_tables import TENANT
from campaign_model.cli.demo.messages import APPROVED, belongs_to_campaign
from campaign_model.store import CampaignStore

__all__ = ["build_export_lines", "write_file_atomically"]


def build_export_lines(
    store: CampaignStore, host: db.MinimalHost, campaign: Campaign
) -> Iterator[str]:
    """Build one line of JSON for each approved message of each exportable contact."""
    contacts = host.contacts.c
    contact_fields = [contacts[field.name] for field in attrs.fields(Contact)]
    for campaign_contact in store.contacts.exportable(campaign.id):
        contact_row = store.connection.execute(
            sa.select(*contact_fields).where(
                contacts.tenant_id == TENANT, contacts.id == campaign_contact.contact_id
            )
        )
        contact = {**contact_row.mappings().one(), "id": str(campaign_contact.contact_id)}
        # Selecting by id leaves out messages of earlier revisions and of removed steps.
        message_ids = [
            slot.message_id(campaign_contact.id, campaign_contact.revision)
            for slot in campaign.steps.slots()
        ]
        messages = store.connection.execute(
            sa.select(host.messages)
            .where(
                belongs_to_campaign(host, campaign.id),
                host.messages.c.id.in_(message_ids),
                host.messages.c.status == APPROVED,
            )
            .order_by(host.messages.c.sequence_step, host.messages.c.variant)
        )
        for message in messages:
            step = campaign.steps.by_key(message.step_key)
            yield json.dumps(
                {
                    "message_id": str(message.id),
                    "campaign_id": str(campaign.id),
                    "contact": contact,
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


def write_file_atomically(path: Path, lines: list[str]) -> None:
    """Write the whole file or nothing. Raise ``UserError`` if it cannot be written."""
    temporary = path.with_name(f"{path.name}.part")
    try:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from None
