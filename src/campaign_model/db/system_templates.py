"""``sync_presets``: bring the system templates in a database up to date with the presets.

A preset is a system template that the package contains as a file. Each preset has a fixed id. Its
row keeps the digest of the preset that was last written. If the row's content has another digest,
an operator has edited it. Syncing is idempotent.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from campaign_model import presets
from campaign_model._json import canonical, digest
from campaign_model.campaign import CampaignTemplate
from campaign_model.db.setup import require_all_rows, require_usable_options
from campaign_model.errors import InvalidDocument
from campaign_model.steps import Step
from campaign_model.store.connection import check_session, database_time, insert_into
from campaign_model.store.tables import campaign_templates
from campaign_model.store.templates import template_columns, template_from_row
from campaign_model.wire import DEFAULT

_WORDING = {"name", "description", "label", "config", "custom_instructions"}
"""Members of a template, of its steps and of its settings that contain only words for people."""

_SAME_TIME = timedelta(seconds=1)
"""Services that set both times of a new row set them within this time."""


@attrs.frozen
class SyncReport:
    """The names of the presets, by what the sync did with them.

    ``edited`` presets were left alone, because their row was edited by hand.
    """

    inserted: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    edited: tuple[str, ...]


def sync_presets(
    connection: sa.Connection, shipped: tuple[CampaignTemplate, ...] | None = None
) -> SyncReport:
    """Insert the presets that are missing, and update those whose file has changed.

    A row that was edited by hand is reported and not changed. A row without a digest, which another
    program inserted, counts as edited if it says anything that the preset does not say. Its wording
    does not count if ``updated_at`` is still ``created_at``. ``shipped`` defaults to the files in
    ``campaign_model.presets``. The caller owns the transaction. Raises :class:`SetupError` if
    row-level security hides rows from the role.
    """
    require_usable_options(connection)
    check_session(connection)
    require_all_rows(connection, (campaign_templates.name,))
    report: dict[str, list[str]] = {field.name: [] for field in attrs.fields(SyncReport)}
    table = campaign_templates
    for template in presets.load() if shipped is None else shipped:
        shipped_digest = _digest(template)
        values = template_columns(template, codec=DEFAULT) | {"shipped_digest": shipped_digest}
        now = database_time(connection)
        insert = (
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
        if connection.execute(insert).one_or_none() is not None:
            report["inserted"].append(template.name)
            continue
        row = connection.execute(
            sa.select(table).where(table.c.id == template.id).with_for_update()
        ).one()
        row_digest = _digest_row(row)
        update_row = sa.update(table).where(table.c.id == template.id)
        if row_digest == shipped_digest:
            report["unchanged"].append(template.name)
            if row.shipped_digest != shipped_digest:
                connection.execute(update_row.values(shipped_digest=shipped_digest))
        elif row_digest is not None and (
            row_digest == row.shipped_digest or _is_older_form(row, template)
        ):
            connection.execute(
                update_row.where(table.c.version == row.version).values(
                    version=row.version + 1, updated_at=now, **values
                )
            )
            report["updated"].append(template.name)
        else:
            report["edited"].append(template.name)
    return SyncReport(**{name: tuple(names) for name, names in report.items()})


def write_preset_insert() -> str:
    """Write an INSERT of all presets as system templates. It leaves existing rows alone."""
    table = campaign_templates
    rows = [
        {"id": template.id, "is_system": True, "shipped_digest": _digest(template)}
        | template_columns(template, codec=DEFAULT)
        for template in presets.load()
    ]
    insert = postgresql.insert(table).values(rows).on_conflict_do_nothing(index_elements=["id"])
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(insert.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _digest(template: CampaignTemplate) -> str:
    return digest(DEFAULT.dump_campaign_template(template))


def _digest_row(row: sa.Row[Any]) -> str | None:
    """Return the digest of a row, or ``None`` if no sync can have written the row."""
    if not row.is_system:
        return None
    try:
        return _digest(template_from_row(row, DEFAULT))
    except InvalidDocument:
        return None


def _is_older_form(row: sa.Row[Any], template: CampaignTemplate) -> bool:
    """Return True if the row has no digest, and every field in it is also in the preset.

    Legacy databases hold the presets without step keys and day offsets, and in other words. The
    words do not count if the row was never changed since its insertion. Adoption has filled in the
    default for a missing number of variants, so that default does not count either.
    """
    was_changed = row.version > 1 or row.updated_at - row.created_at >= _SAME_TIME
    ignored = set() if was_changed else _WORDING
    default_variants = ("variant_count", attrs.fields(Step).variant_count.default)
    steps = [
        {
            name: value
            for name, value in step.items()
            if (name, value) != default_variants and name not in ignored
        }
        for step in json.loads(row.steps)
    ]
    settings = json.loads(row.default_config)
    row_document = {
        "name": row.name,
        "steps": steps,
        "generation_config": {name: settings[name] for name in settings.keys() - ignored},
        **({} if row.description is None else {"description": row.description}),
    }
    compared = {name: row_document[name] for name in row_document.keys() - ignored}
    preset_document = DEFAULT.dump_campaign_template(template)
    return row.shipped_digest is None and _is_within(compared, preset_document)


def _is_within(part: Any, whole: Any) -> bool:
    """Return True if every member of ``part`` is also in ``whole``; lists must match in length."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and _is_within(part[name], whole[name]) for name in part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(_is_within, part, whole))
    return canonical(part) == canonical(whole)
