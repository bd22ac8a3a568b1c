"""Templates: a tenant's own, and system templates, which every tenant sees and none changes."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model._values import checked_id, checked_instance
from campaign_model.campaign import CampaignTemplate
from campaign_model.errors import Conflict, InvalidDocument, NotFound, short_repr
from campaign_model.steps import StepSequence
from campaign_model.store.campaign_rows import unreadable_value
from campaign_model.store.connection import savepoint
from campaign_model.store.scope import Scope
from campaign_model.store.tables import campaign_templates, value_from_row
from campaign_model.wire import Codec

_TEMPLATES = campaign_templates

PRESET_IDS = range(
    UUID("a0000000-0000-0000-0000-000000000000").int,
    UUID("a0000000-0000-0000-0001-000000000000").int,
)
"""The ids of presets, as numbers, also of those that later versions will have.

Everybody can guess them. A tenant that took one would keep the preset from being synced.
"""


def _is_visible(scope: Scope) -> sa.ColumnElement[bool]:
    """Build the condition that a template is the tenant's own or a system template."""
    return sa.or_(scope.of_tenant(_TEMPLATES), _TEMPLATES.c.tenant_id.is_(None))


def read_template(scope: Scope, id: UUID, *, lock: bool = False) -> sa.Row[Any]:
    """Return the row of a template that the tenant sees. Raise :class:`NotFound`.

    With ``lock``, lock the row if it is the tenant's own. No tenant may lock a system template.
    """
    checked_id(id)
    query = sa.select(_TEMPLATES).where(_TEMPLATES.c.id == id)
    row = None
    if lock:
        own = query.where(scope.of_tenant(_TEMPLATES)).with_for_update()
        row = scope.connection.execute(own).one_or_none()
    if row is None:
        row = scope.connection.execute(query.where(_is_visible(scope))).one_or_none()
    if row is None:
        raise NotFound("template", (id,))
    return row


def template_columns(template: CampaignTemplate, codec: Codec) -> dict[str, Any]:
    """Return the columns that hold a template's content."""
    return {
        "name": template.name,
        "description": template.description,
        "steps": json.dumps(codec.dump_template_config(template.steps)),
        "default_config": json.dumps(codec.dump_generation_config(template.generation_config)),
    }


def template_from_row(row: sa.Row[Any], codec: Codec) -> CampaignTemplate:
    """Make a template of its row."""
    steps = codec.recover_template_config(row.steps)
    config = codec.recover_generation_config(row.default_config)
    return value_from_row(
        CampaignTemplate,
        row,
        steps=steps.value,
        generation_config=config.value,
        repairs=(*steps.repairs, *config.repairs),
    )


class Templates:
    """``store.templates``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def list(self) -> tuple[CampaignTemplate, ...]:
        """Return the system templates, then the tenant's own templates, both sorted by name.

        If another program has written documents that cannot be read, the template has no steps, and
        a repair with the code ``unreadable``.
        """
        rows = self._scope.connection.execute(
            sa.select(_TEMPLATES)
            .where(_is_visible(self._scope))
            .order_by(_TEMPLATES.c.is_system.desc(), _TEMPLATES.c.name, _TEMPLATES.c.id)
        )

        def read(row: sa.Row[Any]) -> CampaignTemplate:
            try:
                return template_from_row(row, self._scope.codec)
            except InvalidDocument as error:
                return unreadable_value(CampaignTemplate, row, error)

        return tuple(read(row) for row in rows)

    def get(self, id: UUID) -> CampaignTemplate:
        """Return one template that this tenant sees. Raises :class:`NotFound`."""
        return template_from_row(read_template(self._scope, id), self._scope.codec)

    def add(self, template: CampaignTemplate) -> CampaignTemplate:
        """Add a new template of the tenant's own, and return it with its times.

        Raises :class:`Conflict` (``already_exists``) if its id is taken, by any tenant or for a
        system template, or if another template of the tenant has its name; :class:`Conflict`
        (``read_only``) if it is a system template or not at version 1; and
        :class:`InvalidDocument` for channels and tones that the codec does not know.
        """
        scope = self._scope
        checked_instance(template, CampaignTemplate, "template")
        if template.is_system or template.version != 1:
            raise Conflict("read_only", "a new template is a tenant's own, at version 1")
        scope.codec.check_words(template)
        if template.id.int in PRESET_IDS:
            raise _taken(template)
        now = scope.now()
        return self._write(
            sa.insert(_TEMPLATES).values(
                id=template.id,
                tenant_id=scope.tenant_id,
                is_system=False,
                version=1,
                created_at=now,
                updated_at=now,
                **template_columns(template, scope.codec),
            ),
            template,
        )

    def rename(self, id: UUID, name: str, *, version: int | None = None) -> CampaignTemplate:
        """Give a template another name, and return it.

        ``version``, if given, must be the present one. Raises as :meth:`replace_steps`, and
        :class:`Conflict` (``already_exists``) if the name is taken.
        """
        present = template_from_row(self._lock_own(id, version), self._scope.codec)
        return self._save(attrs.evolve(present, name=name))

    def replace_steps(
        self, id: UUID, steps: StepSequence, *, version: int | None = None
    ) -> CampaignTemplate:
        """Give a template other steps, and return it. Campaigns made from it keep their steps.

        ``version``, if given, must be the present one. Raises :class:`NotFound`, :class:`Conflict`
        (``read_only`` for a system template, ``stale_version`` if ``version`` is given and is not
        the present one), and :class:`InvalidDocument` for channels the codec does not know.
        """
        present = template_from_row(self._lock_own(id, version), self._scope.codec)
        edited = attrs.evolve(present, steps=steps)
        self._scope.codec.check_words(edited, present)
        return self._save(edited)

    def remove(self, id: UUID, *, version: int | None = None) -> None:
        """Delete a template of the tenant's own. Campaigns made from it stay.

        ``version``, if given, must be the present one. Raises as :meth:`replace_steps`, and
        :class:`Conflict` (``still_referred_to``) while a foreign key of the host refers to it.
        """
        row = self._lock_own(id, version)
        with savepoint(self._scope.connection) as refusal:
            self._scope.connection.execute(
                sa.delete(_TEMPLATES).where(
                    self._scope.of_tenant(_TEMPLATES), _TEMPLATES.c.id == id
                )
            )
        if refusal.foreign_key_violated:
            raise Conflict(
                "still_referred_to",
                f"other rows still refer to the template {row.name!r}; delete or change them first",
            )

    def _lock_own(self, id: UUID, version: int | None) -> sa.Row[Any]:
        """Lock a template of the tenant's own, at ``version`` if that is given; return its row."""
        row = read_template(self._scope, id, lock=True)
        if row.tenant_id is None:
            raise Conflict(
                "read_only",
                f"{row.name!r} is a system template and cannot be changed; add a copy of your own",
            )
        if version is not None and row.version != version:
            raise Conflict(
                "stale_version",
                f"the template {row.name!r} is at version {row.version}, "
                f"not {short_repr(version)}; load it again",
            )
        return row

    def _save(self, template: CampaignTemplate) -> CampaignTemplate:
        """Write the content of a locked template, and count its version up."""
        scope = self._scope
        return self._write(
            sa.update(_TEMPLATES)
            .where(scope.of_tenant(_TEMPLATES), _TEMPLATES.c.id == template.id)
            .values(
                version=template.version + 1,
                updated_at=scope.now(),
                **template_columns(template, scope.codec),
            ),
            template,
        )

    def _write(self, change: sa.Insert | sa.Update, template: CampaignTemplate) -> CampaignTemplate:
        """Execute a change of the template's row; load the template again and return it."""
        with savepoint(self._scope.connection, catch_unique=True) as refusal:
            self._scope.connection.execute(change)
        if refusal.unique_key_violated:
            raise _taken(template)
        if refusal.foreign_key_violated:
            raise NotFound("tenant", (self._scope.tenant_id,))
        return self.get(template.id)


def _taken(template: CampaignTemplate) -> Conflict:
    """Make the error for an id or name that is taken. It does not depend on the owner."""
    return Conflict(
        "already_exists", f"a template of that id or name exists already: {template.name!r}"
    )
