"""Campaigns: kept, edited with compare-and-set, and moved through one door."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
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
from campaign_model.store import summaries, totals
from campaign_model.store.contacts import move_contacts
from campaign_model.store.floor import undone
from campaign_model.store.scope import SHARDS, Scope, refused_by_database
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_history,
    campaign_templates,
    campaigns,
    host_owners,
)
from campaign_model.store.templates import visible
from campaign_model.wire import Codec

__all__ = ["Campaigns", "campaign_from_row", "gather_facts"]

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
    """The campaign in a row of campaigns."""
    steps = codec.recover_template_config(row.template_config)
    config = codec.recover_generation_config(row.generation_config)
    return Campaign(
        name=row.name,
        steps=steps.value,
        generation_config=config.value,
        description=row.description,
        owner_id=row.owner_id,
        template_id=row.template_id,
        id=row.id,
        status=row.status,
        is_active=row.is_active,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        generation_started_at=row.generation_started_at,
        generation_completed_at=row.generation_completed_at,
        repairs=(*steps.repairs, *config.repairs),
    )


def _lease_ran_out(scope: Scope) -> sa.ColumnElement[bool]:
    """Who is generating no more. Who was excluded in flight has a report to come, still."""
    return sa.and_(
        campaign_contacts.c.status == ContactStatus.GENERATING,
        campaign_contacts.c.lease_expires_at <= scope.now(),
    )


@exactly()
def gather_facts(
    scope: Scope,
    campaign: Campaign,
    total: totals.Totals,
    review: ReviewTally | None,
    *,
    allow_empty: bool,
) -> Facts:
    """What the guards look at. Exact when the campaign's row is locked exclusively."""
    counts = total.counts
    expired = 0
    if counts[ContactStatus.GENERATING]:
        expired = scope.connection.execute(
            sa.select(sa.func.count()).where(undone, _lease_ran_out(scope)),
            scope.place(campaign.id),
        ).scalar_one()
    budget = campaign.generation_config.budget
    return Facts(
        enabled_steps=len(campaign.steps.enabled),
        contacts=total.total,
        claimable=total.waiting + expired,
        in_flight=counts[ContactStatus.GENERATING] - expired,
        generated=counts[ContactStatus.GENERATED],
        budget_exhausted=(
            budget is not None and total.spent + total.reserved + total.unit_reserve > budget
        ),
        review=review,
        allow_empty=allow_empty,
    )


class Campaigns:
    """``store.campaigns``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add(self, campaign: Campaign) -> Campaign:
        """Keep a new campaign, a draft, under its own ``id``.

        Raises :class:`NotFound` for an owner, template or tenant that this tenant does not have,
        :class:`Conflict` (``already_exists``) when the id is taken, (``read_only``) when the value
        is not a fresh draft, and :class:`InvalidDocument` for unknown channels and tones.
        """
        scope = self._scope
        fresh = attrs.fields_dict(Campaign)
        for name in ("status", "is_active", "version"):
            if getattr(campaign, name) != fresh[name].default:
                raise Conflict("read_only", f"a new campaign is a draft; {name} cannot be chosen")
        scope.codec.check_words(campaign)
        if campaign.template_id is not None:
            self._check_template(campaign.template_id)
        with refused_by_database(scope.connection) as refusal:
            self._insert(campaign)
        if refusal.taken:
            raise Conflict("already_exists", f"a campaign with id {campaign.id} exists already")
        if refusal.missing:
            raise self._missing_owner(campaign.owner_id)
        return self.get(campaign.id)

    def get(self, id: UUID, *, lock: bool = False) -> Campaign:
        """One campaign. ``lock`` holds off every other change of it until the transaction ends.

        Raises :class:`NotFound`, and :class:`InvalidDocument` for a row that another writer made
        unreadable.
        """
        row = self._scope.campaign_row(id, "exclusive" if lock else "plain")
        return campaign_from_row(row, self._scope.codec)

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
        """Campaigns, newest first, by pages of ``limit`` (1 to 500).

        ``after`` is the ``next`` of the page before. Deleted drafts are left out unless
        ``deleted``. Raises ``ValueError`` for a bad ``limit`` or ``after``.
        """
        return summaries.page(
            self._scope,
            status=status,
            owner_id=owner_id,
            template_id=template_id,
            deleted=deleted,
            limit=limit,
            after=after,
        )

    def save(self, campaign: Campaign) -> Campaign:
        """Write what changed, if nobody saved since ``campaign`` was loaded; the new version.

        Changed steps all have keys from then on (:meth:`StepSequence.succeeding`).

        Raises :class:`NotFound` (campaign or owner), :class:`Conflict` (``stale_version``, or
        ``read_only`` for a field that only ``apply`` changes), :class:`TransitionNotAllowed`
        where the status forbids the change, and :class:`InvalidDocument` for unknown channels and
        tones. Then nothing was written.
        """
        scope = self._scope
        row = scope.campaign_row(campaign.id, "exclusive")
        stored = campaign_from_row(row, scope.codec)
        # A writer who knows nothing of versions may still have touched updated_at.
        touched = campaign.updated_at is not None and campaign.updated_at != stored.updated_at
        if stored.version != campaign.version or touched:
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
        with refused_by_database(scope.connection) as refusal:
            self._update(stored, {"updated_at": scope.time_of(row), **changed})
        if refusal.missing:
            raise self._missing_owner(campaign.owner_id)
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

        ``version``, when given, must be the present one. ``review`` is the tally of messages that
        ``approve`` needs, or a function that counts it on the connection once the campaign is
        locked. ``reason`` goes into the history.
        Raises :class:`NotFound`, :class:`Conflict` (``stale_version``) and
        :class:`TransitionNotAllowed` with every unmet guard; ``ValueError`` for an unknown action
        or an empty reason. Contacts whose lease ran out are released on the way out of generation.
        """
        scope = self._scope
        optional_text(reason)
        row = scope.campaign_row(id, "exclusive")
        campaign = campaign_from_row(row, scope.codec)
        if version is not None and version != campaign.version:
            raise _stale(campaign, version)
        tally = review(scope.connection) if callable(review) else review
        total = totals.read(scope, id)
        facts = gather_facts(scope, campaign, total, tally, allow_empty=allow_empty)
        line = lifecycle.apply(campaign.status, Action(action), facts)
        if lifecycle.nothing_in_flight in line.guards and total.counts[ContactStatus.GENERATING]:
            # What dead workers left behind: nobody will claim it while others review and send.
            move_contacts(scope, id, ContactAction.RELEASE, _lease_ran_out(scope))
            total = totals.read(scope, id)
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
        self._update(campaign, changes | totals.settled(total))
        workable = line.target in lifecycle.PERMISSIONS[Permission.CLAIM]
        totals.fold(scope, id, total, shards=SHARDS if workable else 1)
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
        """Every action, whether it is allowed now and if not why: a front end's buttons.

        Nothing is locked: by the time somebody clicks, the answer may be another one.
        """
        scope = self._scope
        campaign = self.get(id)
        tally = review(scope.connection) if callable(review) else review
        total = totals.peek(scope, id)
        facts = gather_facts(scope, campaign, total, tally, allow_empty=allow_empty)
        return lifecycle.actions(campaign.status, facts)

    def clone(self, id: UUID, *, name: str | None = None) -> Campaign:
        """A new draft with the same steps, settings, description and owner, and no contacts.

        Without ``name`` it is called after the original, with a number no other clone of it got.
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
            .where(scope.of_tenant(campaigns), campaigns.c.id == id)
            .values(clone_count=campaigns.c.clone_count + 1)
            .returning(campaigns.c.clone_count)
        ).scalar_one()
        if name is None:
            copy = "copy" if count == 1 else f"copy {count}"
            clone = attrs.evolve(clone, name=_suffixed(original.name, copy))
        self._insert(clone)
        return self.get(clone.id)

    def history(self, id: UUID) -> tuple[HistoryEntry, ...]:
        """Every move of a campaign, oldest first. Raises :class:`NotFound`."""
        scope = self._scope
        scope.campaign_row(id)
        table = campaign_history.c
        rows = scope.connection.execute(
            sa.select(campaign_history)
            .where(scope.of_tenant(campaign_history), table.campaign_id == id)
            .order_by(table.version)
        )
        return tuple(
            HistoryEntry(
                row.at,
                ADOPTED if row.action == ADOPTED else Action(row.action),
                Status(row.source),
                Status(row.target),
                row.version,
                row.actor,
                row.reason,
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
                self._scope.of_tenant(campaigns),
                campaigns.c.id == present.id,
                campaigns.c.status == present.status,
                campaigns.c.version == present.version,
            )
            .values(version=campaigns.c.version + 1, **changes)
        )
        if updated.rowcount != 1:
            raise _stale(present, present.version)

    def _check_template(self, id: UUID) -> None:
        found = self._scope.connection.execute(
            sa.select(campaign_templates.c.id).where(
                visible(self._scope), campaign_templates.c.id == id
            )
        ).one_or_none()
        if found is None:
            raise NotFound("template", (id,))

    def _missing_owner(self, owner_id: UUID | None) -> NotFound:
        scope = self._scope
        owners = host_owners(scope.host)
        found = scope.connection.execute(
            sa.select(owners.c.id).where(scope.of_tenant(owners), owners.c.id == owner_id)
        ).one_or_none()
        if owner_id is None or found is not None:
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
    needed = []
    if (before.name, before.description, before.owner_id) != (
        after.name,
        after.description,
        after.owner_id,
    ):
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


def _suffixed(name: str, copy: str) -> str:
    limit = MAX_NAME - len(copy) - 3
    return f"{name[:limit]} ({copy})"


def _stale(present: Campaign, version: int) -> Conflict:
    return Conflict(
        "stale_version",
        f"the campaign {present.name!r} was changed by somebody meanwhile: yours is version "
        f"{version}, the present one {present.version}; load it again",
    )
