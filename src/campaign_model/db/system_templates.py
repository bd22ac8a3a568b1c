"""Bringing the shipped templates into the database, as often as one likes."""

from __future__ import annotations

import json
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from campaign_model import presets
from campaign_model._json import canonical, digest
from campaign_model.campaign import CampaignTemplate
from campaign_model.errors import InvalidDocument
from campaign_model.steps import Step
from campaign_model.store.connection import database_time, insert_into
from campaign_model.store.tables import campaign_templates
from campaign_model.store.templates import template_columns, template_from_row
from campaign_model.wire import DEFAULT

__all__ = ["SyncReport", "preset_insert", "sync_presets"]


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

    A row that was edited by hand is reported and not touched. One that no sync has written yet
    counts as edited where it says anything else than the shipped file does. ``shipped`` defaults
    to the files in ``campaign_model.presets``. The caller owns the transaction.
    """
    report: dict[str, list[str]] = {field.name: [] for field in attrs.fields(SyncReport)}
    table = campaign_templates
    for template in presets.load() if shipped is None else shipped:
        digest = _digest(template)
        values = template_columns(template, DEFAULT) | {"shipped_digest": digest}
        now = database_time(connection)
        stored = sa.select(table).where(table.c.id == template.id).with_for_update()
        row = connection.execute(stored).one_or_none()
        if row is None:
            inserted = connection.execute(
                insert_into(connection, table)
                .values(
                    id=template.id,
                    tenant_id=None,
                    is_system=True,
                    created_at=now,
                    updated_at=now,
                    **values,
                )
                .on_conflict_do_nothing(index_elements=["id"])
                .returning(table.c.id)
            )
            if inserted.one_or_none() is not None:
                report["inserted"].append(template.name)
                continue
            # Another sync has inserted it since we looked.
            row = connection.execute(stored).one()
        present = _present_digest(row)
        this_row = sa.update(table).where(table.c.id == template.id)
        if present == digest:
            report["unchanged"].append(template.name)
            if row.shipped_digest != digest:
                connection.execute(this_row.values(shipped_digest=digest))
        elif present is None or not (
            present == row.shipped_digest or _is_an_older_form(row, template)
        ):
            report["edited"].append(template.name)
        else:
            connection.execute(
                this_row.where(table.c.version == row.version).values(
                    version=row.version + 1, updated_at=now, **values
                )
            )
            report["updated"].append(template.name)
    return SyncReport(**{name: tuple(names) for name, names in report.items()})


def preset_insert() -> str:
    """The shipped templates as an SQL statement that leaves alone those that are there."""
    table = campaign_templates
    rows = [
        {"id": template.id, "is_system": True, "shipped_digest": _digest(template)}
        | template_columns(template, DEFAULT)
        for template in presets.load()
    ]
    insert = postgresql.insert(table).values(rows).on_conflict_do_nothing(index_elements=["id"])
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(insert.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _digest(template: CampaignTemplate) -> str:
    return digest(DEFAULT.dump_campaign_template(template))


def _present_digest(row: sa.Row[Any]) -> str | None:
    """The digest of what stands in the row; ``None`` for what no sync could have written."""
    if not row.is_system:
        return None
    try:
        return _digest(template_from_row(row, DEFAULT))
    except InvalidDocument:
        return None


def _is_an_older_form(row: sa.Row[Any], template: CampaignTemplate) -> bool:
    """Whether the row is from before there were digests, and says no more than what ships now.

    Databases that are older than this library hold the presets without keys, days and the like;
    where they had no number of variants, adoption has filled in one.
    """
    shipped = DEFAULT.dump_campaign_template(template)
    filled = ("variant_count", attrs.fields(Step).variant_count.default)
    steps = [
        {name: value for name, value in step.items() if (name, value) != filled}
        for step in json.loads(row.steps)
    ]
    present = {
        "name": row.name,
        "steps": steps,
        "generation_config": json.loads(row.default_config),
        **({} if row.description is None else {"description": row.description}),
    }
    return row.shipped_digest is None and _is_within(present, shipped)


def _is_within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and _is_within(part[name], whole[name]) for name in part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(_is_within, part, whole))
    return canonical(part) == canonical(whole)
