"""Campaigns: add, load, list and edit them, and change their status.

Invariants:

* Only :meth:`Campaigns.apply` changes a status. It looks up the status and the action in the
  lifecycle's transition table, and writes the target status only if all guards (conditions) of that
  transition hold, while the campaign is locked exclusively.
* Every change of a status adds one row to the history.
* An edit is written only if the edited value has the version that the campaign has now.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa

from campaign_model import lifecycle
from campaign_model._logs import store_log
from campaign_model._values import checked_id, checked_instance, checked_word, optional_text
from campaign_model.campaign import (
    ADOPTED,
    MAX_NAME,
    MAX_REASON,
    Campaign,
    CampaignSummary,
    HistoryEntry,
    Page,
    is_unreadable,
)
from campaign_model.errors import Conflict, InvalidArgument, InvalidDocument, NotFound, short_repr
from campaign_model.guards import nothing_in_flight
from campaign_model.lifecycle import (
    Action,
    ActionState,
    ContactAction,
    ContactStatus,
    Permission,
    ReviewTally,
    Status,
)
from campaign_model.store.campaign_list import count_campaigns, list_campaigns
from campaign_model.store.campaign_rows import (
    MOVED_BY_APPLY,
    campaign_content,
    campaign_from_row,
    permissions_for,
    stale,
    unreadable_value,
)
from campaign_model.store.connection import savepoint
from campaign_model.store.contact_moves import move_contacts
from campaign_model.store.facts import Review, gather_facts, has_expired_lease
from campaign_model.store.locking import read_campaign
from campaign_model.store.messages import is_present
from campaign_model.store.recount import count_contacts, is_small, recount_totals
from campaign_model.store.scope import SHARDS, Scope
from campaign_model.store.tables import campaign_history, campaigns, host_table, value_from_row
from campaign_model.store.templates import read_template
from campaign_model.store.totals import legacy_columns, load_totals, lock_totals, replace_totals


class Campaigns:
    """``store.campaigns``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add(self, campaign: Campaign) -> Campaign:
        """Add a new campaign, which must be a draft, and return it with its times.

        Raises :class:`NotFound` if the tenant does not exist or does not have the owner or
        template, :class:`Conflict` (``already_exists``) if any tenant has a campaign with this id,
        :class:`Conflict` (``read_only``) if ``status``, ``is_active`` or ``version`` are not those
        of a new draft, and :class:`InvalidDocument` for unknown channels and tones.
        """
        scope = self._scope
        checked_instance(campaign, Campaign, "campaign")
        fields = attrs.fields_dict(Campaign)
        for name in ("status", "is_active", "version"):
            if getattr(campaign, name) != fields[name].default:
                raise Conflict("read_only", f"a new campaign is a draft; {name} cannot be chosen")
        scope.codec.check_words(campaign)
        if campaign.template_id is not None:
            read_template(scope, campaign.template_id)
        with savepoint(scope.connection, catch_unique=True) as refusal:
            self._insert(campaign)
        if refusal.unique_key_violated:
            raise Conflict("already_exists", f"a campaign with id {campaign.id} exists already")
        if refusal.foreign_key_violated:
            raise self._missing_owner_or_tenant(campaign.owner_id)
        return self.get(campaign.id)

    def get(
        self, id: UUID, *, version: int | None = None, lock: bool | Literal["share"] = False
    ) -> Campaign:
        """Return one campaign.

        ``version``, if given, must be the present one, as for the header ``If-Match`` of HTTP. With
        ``lock=True``, no other transaction can lock the campaign until this one ends. With
        ``lock="share"``, the campaign's status, steps and settings cannot change until then, but
        workers and other transactions can share the lock. Take the shared lock to write rows of
        your own that depend on the campaign. In that transaction, call no method that changes the
        campaign: two such transactions would wait for each other.

        Raises :class:`NotFound`, :class:`Conflict` (``stale_version``), and
        :class:`InvalidDocument` if another program has written documents into the row that cannot
        be read.
        """
        checked_id(id)
        if isinstance(lock, str) and lock != "share":
            raise InvalidArgument("lock", f"lock is True, False or 'share', not {short_repr(lock)}")
        campaign = campaign_from_row(read_campaign(self._scope, id, lock=lock), self._scope.codec)
        if version is not None and version != campaign.version:
            raise stale(campaign, version)
        return campaign

    def list(
        self,
        *,
        status: Collection[Status] | None = None,
        owner_id: UUID | None = None,
        template_id: UUID | None = None,
        search: str | None = None,
        deleted: bool = False,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[CampaignSummary]:
        """Return a page of campaigns, newest first.

        ``status``, ``owner_id`` and ``template_id`` select the campaigns with one of these
        statuses, this owner and this template. ``search`` selects the campaigns whose name contains
        this text, in upper or lower case (docs/service-api.md). ``deleted`` includes deleted
        drafts. A page has up to ``limit`` campaigns (1 to 500). ``after`` is the ``next`` of the
        page before. Raises :class:`InvalidArgument` for a filter, ``limit`` or ``after`` that
        cannot be used.
        """
        filters = {
            "status": status,
            "owner_id": owner_id,
            "template_id": template_id,
            "search": search,
        }
        return list_campaigns(self._scope, filters, deleted=deleted, limit=limit, after=after)

    def count_by_status(
        self,
        *,
        owner_id: UUID | None = None,
        template_id: UUID | None = None,
        search: str | None = None,
        deleted: bool = False,
    ) -> dict[Status, int]:
        """Return the number of campaigns in each status, also where it is 0.

        The filters are those of :meth:`list`. The call reads all campaigns of the tenant, so a list
        that has many pages calls it once. Raises :class:`InvalidArgument` as :meth:`list`.
        """
        filters = {"owner_id": owner_id, "template_id": template_id, "search": search}
        return count_campaigns(self._scope, filters, deleted=deleted)

    def save(self, campaign: Campaign) -> Campaign:
        """Write the fields that differ from the stored campaign, and return the new value.

        Nothing is written if the stored campaign has another version than ``campaign``, which means
        that it was changed since it was loaded. If the steps changed, every step has a key from
        then on (:meth:`StepSequence.succeeding`).

        Raises :class:`NotFound` (campaign or owner), :class:`Conflict` (``stale_version``, or
        ``read_only`` for a field that only ``apply`` changes), :class:`TransitionNotAllowed` if the
        status forbids the change, and :class:`InvalidDocument` for unknown channels and tones.
        After an error, nothing was written.
        """
        scope = self._scope
        checked_instance(campaign, Campaign, "campaign")
        if is_unreadable(campaign):
            raise Conflict(
                "read_only", "the documents of the campaign cannot be read; load it again"
            )
        row = read_campaign(scope, campaign.id, lock=True)
        stored = campaign_from_row(row, scope.codec)
        # A legacy writer does not count the version up, but may set updated_at.
        was_touched = campaign.updated_at is not None and campaign.updated_at != stored.updated_at
        if stored.version != campaign.version or was_touched:
            raise stale(stored, campaign.version)
        campaign = attrs.evolve(campaign, steps=campaign.steps.succeeding(stored.steps))
        for name in MOVED_BY_APPLY:
            if getattr(stored, name) != getattr(campaign, name):
                raise Conflict("read_only", f"{name} cannot be edited; apply an action instead")
        for permission in permissions_for(stored, campaign):
            lifecycle.check_permission(permission, stored.status)
        scope.codec.check_words(campaign, stored)
        before = campaign_content(stored, scope.codec)
        after = campaign_content(campaign, scope.codec)
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
        allow_partial: bool = False,
        reason: str | None = None,
    ) -> Campaign:
        """Apply an action, which changes the campaign's status. One of the actions is ``delete``.

        ``version``, if given, must be the present one. ``approve`` needs ``review``: the numbers of
        approved, rejected and undecided messages, or a function that counts them on the connection
        once the campaign is locked (:meth:`review_tally`). ``allow_empty`` lets ``approve`` succeed
        without an approved message, and ``allow_partial`` although contacts wait or are stale
        (generated from other steps than the present ones). ``reason`` goes into the history. An
        action with the guard ``nothing_in_flight`` also gives back the contacts whose lease has
        expired, because no worker can claim them afterwards.

        If another program has written documents into the row that cannot be read, the actions of
        ``lifecycle.NEEDS_DOCUMENTS`` are refused, and others allowed, such as ``cancel_generation``
        and ``delete``. The answer then has no steps, and a repair with the code ``unreadable``;
        ``save`` refuses it.

        The store counts the campaign's contacts before it calls the guards, because a program that
        does not use the library may have changed them. A million contacts take about half a second.

        Raises :class:`NotFound`, :class:`Conflict` (``stale_version``),
        :class:`TransitionNotAllowed` with every unmet guard, :class:`InvalidDocument` if the action
        needs documents that cannot be read, and :class:`InvalidArgument` for an unknown action and
        for a reason that is empty or has more than 10,000 characters.
        """
        scope = self._scope
        action = checked_word(Action, action, "action")
        optional_text(reason, "reason", MAX_REASON)
        # 1. Lock the campaign and check the guards.
        campaign = self._get_for_action(id, action, lock=True)
        if version is not None and version != campaign.version:
            raise stale(campaign, version)
        total = recount_totals(scope, id)
        facts = gather_facts(
            scope,
            campaign,
            total,
            action,
            review=review,
            allow_empty=allow_empty,
            allow_partial=allow_partial,
        )
        line = lifecycle.apply(campaign.status, action, facts)
        # 2. Release what dead workers left behind: after this move no worker will claim it.
        if nothing_in_flight in line.guards and total.counts[ContactStatus.GENERATING]:
            is_expired = has_expired_lease(scope, id)
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
        move = {
            "action": line.action.value,
            "source": line.source.value,
            "target": line.target.value,
            "actor": scope.actor,
        }
        scope.connection.execute(
            sa.insert(campaign_history).values(
                id=uuid4(),
                tenant_id=scope.tenant_id,
                campaign_id=id,
                version=campaign.version + 1,
                reason=reason,
                at=now,
                **move,
            )
        )
        store_log.info(
            "%(action)s moves a campaign from %(source)s to %(target)s",
            move,
            extra={"tenant_id": str(scope.tenant_id), "campaign_id": str(id), **move},
        )
        return self._get_for_action(id, action)

    def actions(
        self,
        id: UUID,
        *,
        review: Review | None = None,
        allow_empty: bool = False,
        allow_partial: bool = False,
    ) -> tuple[ActionState, ...]:
        """Return every action, whether it is allowed now, and the error if it is not.

        A front end can show each action as a button. ``review``, ``allow_empty`` and
        ``allow_partial`` mean what they mean in :meth:`apply`; without ``review``, ``approve``
        counts as not allowed. Nothing is locked, so the answer may have changed by the time a user
        clicks. Actions that need documents which cannot be read lack ``documents_readable``. Raises
        :class:`NotFound`.
        """
        scope = self._scope
        campaign = self._get_for_action(id, None)
        total = load_totals(scope, id)
        if is_small(total):
            total = count_contacts(scope, id, total)
        facts = gather_facts(
            scope,
            campaign,
            total,
            None,
            review=review,
            allow_empty=allow_empty,
            allow_partial=allow_partial,
        )
        documents_readable = not is_unreadable(campaign)
        return lifecycle.actions(campaign.status, facts, documents_readable=documents_readable)

    def clone(self, id: UUID, *, name: str | None = None) -> Campaign:
        """Add a draft with the same steps, settings, description and owner, and no contacts.

        Without ``name``, the clone gets the original's name, followed by "(copy)" or "(copy 2)" and
        so on. No two clones of a campaign get the same number. Raises :class:`NotFound`, and
        :class:`InvalidDocument` for a bad name.
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
        """Return an entry for every change of the campaign's status, oldest first.

        Raises :class:`NotFound`.
        """
        scope = self._scope
        read_campaign(scope, checked_id(id))
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

    def present_messages(self, id: UUID, messages: sa.FromClause) -> sa.ColumnElement[bool]:
        """Build the condition that a row of the host's ``messages`` may be reviewed and sent.

        Such a row is a message of the present revision of a generated contact, for one of the
        present steps. Use the condition in a WHERE, so that the database finds the messages and no
        id is computed in Python. ``messages`` has the columns ``tenant_id``,
        ``campaign_contact_id``, ``revision`` (that of the claim), ``step_key`` and ``variant``
        (those of the slot).

        The condition has the steps of now. Lock the campaign (``get(..., lock=True)``) if they must
        not change before you use it. Raises :class:`NotFound`, and :class:`InvalidArgument` for a
        table without one of these columns.
        """
        checked_id(id)
        checked_instance(messages, sa.FromClause, "messages")
        steps = self._scope.steps(read_campaign(self._scope, id))
        return is_present(self._scope, id, steps, messages)

    def review_tally(
        self,
        id: UUID,
        messages: sa.FromClause,
        *,
        is_approved: sa.ColumnElement[bool],
        is_rejected: sa.ColumnElement[bool],
    ) -> ReviewTally:
        """Count the messages under review in one query, for ``approve``.

        ``messages`` is the host's table, as for :meth:`present_messages`. ``is_approved`` and
        ``is_rejected`` are conditions on its rows; all other messages are undecided. Raises as
        :meth:`present_messages`.
        """
        checked_instance(is_approved, sa.ColumnElement, "is_approved")
        checked_instance(is_rejected, sa.ColumnElement, "is_rejected")
        present = self.present_messages(id, messages)
        number = sa.func.count()
        total, approved_number, rejected_number = self._scope.connection.execute(
            sa.select(number, number.filter(is_approved), number.filter(is_rejected))
            .select_from(messages)
            .where(present)
        ).one()
        undecided_number = total - approved_number - rejected_number
        return ReviewTally(approved_number, rejected_number, undecided_number)

    def _get_for_action(self, id: UUID, action: Action | None, *, lock: bool = False) -> Campaign:
        """Return one campaign for an action. Not every action needs readable documents."""
        scope = self._scope
        checked_id(id)
        row = read_campaign(scope, id, lock=lock)
        try:
            return campaign_from_row(row, scope.codec)
        except InvalidDocument as error:
            if action in lifecycle.NEEDS_DOCUMENTS:
                raise
            return unreadable_value(Campaign, row, error)

    def _insert(self, campaign: Campaign) -> None:
        """Insert the row of a campaign, with the present time."""
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
                **campaign_content(campaign, self._scope.codec),
            )
        )

    def _update(self, present: Campaign, changes: dict[str, Any]) -> None:
        """Write ``changes`` and count the version up.

        Raise :class:`Conflict` if the row no longer has the status and version of ``present``. That
        cannot happen while the caller holds the exclusive lock.
        """
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
            raise stale(present, present.version)

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
