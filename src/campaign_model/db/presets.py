"""Bringing the shipped templates into the database, as often as one likes."""

from __future__ import annotations

import hashlib

import attrs
import sqlalchemy as sa

from campaign_model import presets
from campaign_model._json import canonical
from campaign_model.campaign import CampaignTemplate
from campaign_model.store.tables import campaign_templates
from campaign_model.store.templates import template_from_row, template_values
from campaign_model.wire import DEFAULT

__all__ = ["SyncReport", "sync_presets"]


@attrs.frozen
class SyncReport:
    """The names of the presets, by what was done with them.

    ``edited`` ones were left alone, because somebody changed the row by hand.
    """

    inserted: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    edited: tuple[str, ...]


def sync_presets(
    connection: sa.Connection, shipped: tuple[CampaignTemplate, ...] | None = None
) -> SyncReport:
    """Insert the shipped templates by their stable ids, and update those that shipped anew.

    A row that was edited by hand is reported and not touched. ``shipped`` defaults to the files
    in ``campaign_model.presets``. The caller owns the transaction.
    """
    report: dict[str, list[str]] = {field.name: [] for field in attrs.fields(SyncReport)}
    table = campaign_templates
    for template in presets.load() if shipped is None else shipped:
        digest = _digest(template)
        row = connection.execute(
            sa.select(table).where(table.c.id == template.id).with_for_update()
        ).one_or_none()
        values = template_values(template, DEFAULT) | {"shipped_digest": digest}
        if row is None:
            connection.execute(
                sa.insert(table).values(id=template.id, tenant_id=None, is_system=True, **values)
            )
            report["inserted"].append(template.name)
            continue
        present = _digest(template_from_row(row, DEFAULT))
        if present == digest:
            report["unchanged"].append(template.name)
        elif present != row.shipped_digest:
            report["edited"].append(template.name)
        else:
            connection.execute(
                sa.update(table)
                .where(table.c.id == template.id, table.c.version == row.version)
                .values(version=row.version + 1, **values)
            )
            report["updated"].append(template.name)
    return SyncReport(**{name: tuple(names) for name, names in report.items()})


def _digest(template: CampaignTemplate) -> str:
    content = DEFAULT.dump_campaign_template(template)
    return hashlib.sha256(canonical(content).encode()).hexdigest()
