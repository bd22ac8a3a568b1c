"""Campaigns: kept, edited by compare-and-set, and moved by ``apply``, the one door.

Invariants: a status changes only by :meth:`Campaigns.apply`, along a line of the lifecycle's table,
after all guards of the line were judged under the campaign's exclusive lock; every move is one row
of the history; an edit is written only if its version is the present one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Any
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa

from campaign_model import lifecycle
from campaign_model._values import exactly, optional_text
from campaign_model.campaign import (
    ADOPTED,
    MAX_NAME,
    Campaign,
    CampaignSummary,
    HistoryEntry,
    Page,
)
from campaign_model.errors import Conflict, NotFound
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import (
    Action,
    ActionState,
    ContactAction,
    ContactStatus,
    Facts,
    Permission,
    ReviewTally,
    Status,
)
from campaign_model.store.campaign_list import list_campaigns
from campaign_model.store.connection import savepoint
from campaign_model.store.contact_moves import move_contacts
from campaign_model.store.locking import read_campaign
from campaign_model.store.recount import count_contacts, is_small, recount_totals
from campaign_model.store.scope import SHARDS, Scope
from campaign_model.store.tables import (
    LOWEST_RANK,
    campaign_contacts,
    campaign_history,
    campaign_totals,
    campaigns,
    host_table,
    value_from_row,
)
from campaign_model.store.templates import read_template
from campaign_model.store.totals import (
    Totals,
    legacy_columns,
    load_totals,
    lock_totals,
    replace_totals,
)
from campaign_model.wire import Codec

__all__ = ["Campaigns", "campaign_from_row"]

Review = ReviewTally | Callable[[sa.Connection], ReviewTally]

_MOVED_BY_APPLY = (
    "status",
    "is_active",
    "template_id",
    "created_at",
    "generation_started_at",
    "generation_completed_at",
)


def campaign_from_row(row: sa.Row[Any], codec: Codec) -> Campaign:
    """Make a campaign of its row."""
    steps = codec.recover_template_config(row.template_config)
    config = codec.recover_generation_config(row.generation_config)
    return value_from_row(
        Campaign,
        row,
        steps=steps.value,
        generation_config=config.value,
        repairs=(*steps.repairs, *config.repairs),
    )


def _has_expired_lease(scope: Scope, campaign_id: UUID) -> sa.ColumnElement[bool]:
    """Build the condition that a contact's lease has expired.

    A contact that was excluded in flight is not meant: its outcome is still to come.
    """
    contact = campaign_contacts.c
    low_watermark = sa.select(sa.func.max(campaign_totals.c.low_watermark)).where(
        scope.of_campaign(campaign_totals, campaign_id)
    )
    return sa.and_(
        scope.of_campaign(campaign_contacts, campaign_id),
        contact.status == ContactStatus.GENERATING,
        contact.lease_expires_at <= scope.now(),
        contact.rank >= sa.func.coalesce(low_watermark.scalar_subquery(), LOWEST_RANK),
    )


@exactly()
def _gather_facts(
    scope: Scope, campaign: Campaign, total: Totals, review: Review | None, *, allow_empty: bool
) -> Facts:
    """Gather what the guards look at. Exact under the campaign's exclusive lock."""
    generating = total.counts[ContactStatus.GENERATING]
    expired = 0
    if generating:
        expired = scope.connection.execute(
            sa.select(sa.func.count()).where(_has_expired_lease(scope, campaign.id))
        ).scalar_one()
    budget = campaign.generation_config.budget
    return Facts(
        enabled_steps=len(campaign.steps.enabled),
        contacts=total.total,
        claimable=total.waiting + expired,
        in_flight=generating - expired,
        generated=total.counts[ContactStatus.GENERATED],
        budget_exhausted=(
            budget is not None and total.spent + total.reserved + total.unit_reserve > budget
        ),
        review=review(scope.connection) if callable(review) else review,
        allow_empty=allow_empty,
    )


class Campaigns:
    """``store.campaigns``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add(self, campaign: Campaign) -> Campaign:
        """Add a new campaign, a draft, under its own ``id``.

        Raises :class:`NotFound` for an owner, template or tenant that this tenant does not have,
        :class:`Conflict` (``already_exists``) if the id is taken, (``read_only``) if the value
        is not a fresh draft, and :class:`InvalidDocument` for unknown channels and tones.
        """
        scope = self._scope
        fields = attrs.fields_dict(Campaign)
        for name in ("status", "is_active", "version"):
            if getattr(campaign, name) != fields[name].default:
                raise Conflict("read_only", f"a new campaign is a draft; {name} cannot be chosen")
        scope.codec.check_words(campaign)
        if campaign.template_id is not None:
            read_template(scope, campaign.template_id)
        with savepoint(scope.connection) as refusal:
            self._insert(campaign)
        if refusal.unique_key_violated:
            raise Conflict("already_exists", f"a campaign with id {campaign.id} exists already")
        if refusal.foreign_key_violated:
            raise self._missing_owner_or_tenant(campaign.owner_id)
        return self.get(campaign.id)

    def get(self, id: UUID, *, lock: bool = False) -> Campaign:
        """Return one campaign. With ``lock``, it cannot change until the transaction ends.

        Raises :class:`NotFound`, and :class:`InvalidDocument` for a row that another writer made
        unreadable.
        """
        return campaign_from_row(read_campaign(self._scope, id, lock=lock), self._scope.codec)

    def list(
        self,
        *,
        status: Collection[Status] | None = None,
        owner_id: UUID | None = None,
        template_id: UUID | None = None,
        deleted: bool = False,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[CampaignSummary]:
        """Return campaigns, newest first, by pages of ``limit`` (1 to 500).

        ``after`` is the ``next`` of the page before. Deleted drafts are left out unless
        ``deleted``. Raises ``ValueError`` for a bad ``limit`` or ``after``.
        """
        filters = {"status": status, "owner_id": owner_id, "template_id": template_id}
        return list_campaigns(self._scope, filters, deleted=deleted, limit=limit, after=after)

    def save(self, campaign: Campaign) -> Campaign:
        """Write what changed, if the campaign was not saved since it was loaded; return it anew.

        If the steps changed, every step has a key from then on (:meth:`StepSequence.succeeding`).

        Raises :class:`NotFound` (campaign or owner), :class:`Conflict` (``stale_version``, or
        ``read_only`` for a field that only ``apply`` changes), :class:`TransitionNotAllowed`
        where the status forbids the change, and :class:`InvalidDocument` for unknown channels and
        tones. Then nothing was written.
        """
        scope = self._scope
        row = read_campaign(scope, campaign.id, lock=True)
        stored = campaign_from_row(row, scope.codec)
        # A legacy writer does not count the version up, but may set updated_at.
        was_touched = campaign.updated_at is not None and campaign.updated_at != stored.updated_at
        if stored.version != campaign.version or was_touched:
            raise _stale(stored, campaign.version)
        campaign = attrs.evolve(campaign, steps=campaign.steps.succeeding(stored.steps))
        for name in _MOVED_BY_APPLY:
            if getattr(stored, name) != getattr(campaign, name):
                raise Conflict("read_only", f"{name} cannot be edited; apply an action instead")
        for permission in _permissions(stored, campaign):
            lifecycle.check_permission(permission, stored.status)
        scope.codec.check_words(campaign, stored)
        before, after = _content(stored, scope.codec), _content(campaign, scope.codec)
        changed = {name: value for name, value in after.items() if value != before[name]}
        if not changed:
            return stored
        with savepoint(scope.connection) as refusal:
            self._update(stored, {"updated_at": row.now, **changed})
        if refusal.foreign_key_violated:
            raise self._missing_owner_or_tenant(campaign.owner_id)
        return self.get(campaign.id)

    def apply(
        self,
        id: UUID,
        action: Action,
        *,
        version: int | None = None,
        review: Review | None = None,
        allow_empty: bool = False,
        reason: str | None = None,
    ) -> Campaign:
        """Move a campaign: the one door for every change of status, deletion included.

        ``version``, if given, must be the present one. ``review`` is the tally of messages that
        ``approve`` needs, or a function that counts it on the connection once the campaign is
        locked. ``reason`` goes into the history. A move that needs "nothing in flight" releases
        the contacts whose lease has expired. Every move counts the campaign's contacts, so that
        its guards judge what is there, whoever wrote it; with a million contacts that takes about
        half a second.
        Raises :class:`NotFound`, :class:`Conflict` (``stale_version``) and
        :class:`TransitionNotAllowed` with every unmet guard; ``ValueError`` for an unknown action
        or an empty reason.
        """
        scope = self._scope
        optional_text(reason)
        # 1. Lock the campaign and judge the guards.
        campaign = self.get(id, lock=True)
        if version is not None and version != campaign.version:
            raise _stale(campaign, version)
        total = recount_totals(scope, id)
        facts = _gather_facts(scope, campaign, total, review, allow_empty=allow_empty)
        line = lifecycle.apply(campaign.status, Action(action), facts)
        # 2. Release what dead workers left behind: after this move no worker will claim it.
        if lifecycle.nothing_in_flight in line.guards and total.counts[ContactStatus.GENERATING]:
            is_expired = _has_expired_lease(scope, id)
            move_contacts(scope, id, ContactAction.RELEASE, condition=is_expired)
            total = lock_totals(scope, id)
        # 3. Write status, legacy columns, totals and history.
        now = scope.now()
        changes: dict[str, Any] = {"status": line.target, "updated_at": now}
        if line.deletes:
            changes["is_active"] = False
        if line.action is Action.START_GENERATION:
            changes |= {
                "generation_started_at": now,
                "generation_completed_at": None,
                "finished_before_start": total.finished,
            }
        if line.action is Action.COMPLETE_GENERATION:
            changes["generation_completed_at"] = now
        self._update(campaign, changes | legacy_columns(total))
        is_running = line.target in lifecycle.PERMISSIONS[Permission.CLAIM]
        replace_totals(scope, id, total, shards=SHARDS if is_running else 1)
        scope.connection.execute(
            sa.insert(campaign_history).values(
                id=uuid4(),
                tenant_id=scope.tenant_id,
                campaign_id=id,
                version=campaign.version + 1,
                action=line.action,
                source=line.source,
                target=line.target,
                actor=scope.actor,
                reason=reason,
                at=now,
            )
        )
        return self.get(id)

    def actions(
        self, id: UUID, *, review: Review | None = None, allow_empty: bool = False
    ) -> tuple[ActionState, ...]:
        """Return every action, whether it is allowed now, and if not why: a front end's buttons.

        Nothing is locked, so the answer may have changed by the time a user clicks. Raises
        :class:`NotFound`.
        """
        scope = self._scope
        campaign = self.get(id)
        total = load_totals(scope, id)
        if is_small(total):
            total = count_contacts(scope, id, total)
        facts = _gather_facts(scope, campaign, total, review, allow_empty=allow_empty)
        return lifecycle.actions(campaign.status, facts)

    def clone(self, id: UUID, *, name: str | None = None) -> Campaign:
        """Add a draft with the same steps, settings, description and owner, and no contacts.

        Without ``name`` it gets the original's name with a number that no other clone of it has.
        Raises :class:`NotFound`, and :class:`InvalidDocument` for a bad name.
        """
        scope = self._scope
        original = self.get(id, lock=True)
        clone = Campaign(
            name=original.name if name is None else name,
            steps=original.steps,
            generation_config=original.generation_config,
            description=original.description,
            owner_id=original.owner_id,
            template_id=original.template_id,
        )
        count = scope.connection.execute(
            sa.update(campaigns)
            .where(scope.of_campaign(campaigns, id))
            .values(clone_count=campaigns.c.clone_count + 1)
            .returning(campaigns.c.clone_count)
        ).scalar_one()
        if name is None:
            suffix = " (copy)" if count == 1 else f" (copy {count})"
            clone = attrs.evolve(clone, name=original.name[: MAX_NAME - len(suffix)] + suffix)
        self._insert(clone)
        return self.get(clone.id)

    def history(self, id: UUID) -> tuple[HistoryEntry, ...]:
        """Return every move of a campaign, oldest first. Raises :class:`NotFound`."""
        scope = self._scope
        read_campaign(scope, id)
        rows = scope.connection.execute(
            sa.select(campaign_history)
            .where(scope.of_campaign(campaign_history, id))
            .order_by(campaign_history.c.version)
        )
        return tuple(
            value_from_row(
                HistoryEntry,
                row,
                action=ADOPTED if row.action == ADOPTED else Action(row.action),
                source=Status(row.source),
                target=Status(row.target),
            )
            for row in rows
        )

    def _insert(self, campaign: Campaign) -> None:
        now = self._scope.now()
        self._scope.connection.execute(
            sa.insert(campaigns).values(
                id=campaign.id,
                tenant_id=self._scope.tenant_id,
                template_id=campaign.template_id,
                status=campaign.status,
                is_active=campaign.is_active,
                version=campaign.version,
                created_at=now,
                updated_at=now,
                **_content(campaign, self._scope.codec),
            )
        )

    def _update(self, present: Campaign, changes: dict[str, Any]) -> None:
        updated = self._scope.connection.execute(
            sa.update(campaigns)
            .where(
                self._scope.of_campaign(campaigns, present.id),
                campaigns.c.status == present.status,
                campaigns.c.version == present.version,
            )
            .values(version=campaigns.c.version + 1, **changes)
        )
        if updated.rowcount != 1:
            raise _stale(present, present.version)

    def _missing_owner_or_tenant(self, owner_id: UUID | None) -> NotFound:
        """Make the error for a refused foreign key: the owner is missing, or else the tenant."""
        scope = self._scope
        owners = host_table(scope.host.owners)
        owner = scope.connection.execute(
            sa.select(owners.c.id).where(scope.of_tenant(owners), owners.c.id == owner_id)
        ).one_or_none()
        if owner_id is None or owner is not None:
            return NotFound("tenant", (scope.tenant_id,))
        return NotFound("owner", (owner_id,))


def _content(campaign: Campaign, codec: Codec) -> dict[str, Any]:
    return {
        "name": campaign.name,
        "description": campaign.description,
        "owner_id": campaign.owner_id,
        "template_config": json.dumps(codec.dump_template_config(campaign.steps)),
        "generation_config": json.dumps(codec.dump_generation_config(campaign.generation_config)),
    }


def _permissions(before: Campaign, after: Campaign) -> tuple[Permission, ...]:
    """Return the permissions that an edit needs."""
    needed = []
    details = attrgetter("name", "description", "owner_id")
    if details(before) != details(after):
        needed.append(Permission.EDIT_DETAILS)
    if before.steps != after.steps:
        needed.append(Permission.EDIT_STEPS)
    if before.generation_config != after.generation_config:
        raised = _only_raises_budget(before.generation_config, after.generation_config)
        needed.append(Permission.RAISE_BUDGET if raised else Permission.EDIT_CONFIG)
    return tuple(needed)


def _only_raises_budget(before: GenerationConfig, after: GenerationConfig) -> bool:
    if before.budget is None or after.budget is None or after.budget <= before.budget:
        return False
    return attrs.evolve(before, budget=after.budget) == after


def _stale(present: Campaign, version: int) -> Conflict:
    return Conflict(
        "stale_version",
        f"the campaign {present.name!r} was changed since you loaded it: you have version "
        f"{version}, the present version is {present.version}; load it again",
    )
