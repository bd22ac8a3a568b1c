"""The contacts of a campaign: assignment, readiness, exclusion, erasure, and the list to export."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model._logs import store_log
from campaign_model._values import checked_instance, checked_number, checked_word, exact_money, text
from campaign_model._values import gaps as checked_gaps
from campaign_model.campaign import Assigned, CampaignContact, Changed, Overlap, Page, Removed
from campaign_model.claims import Cursor
from campaign_model.errors import Conflict, InvalidArgument, InvalidDocument, short_repr
from campaign_model.lifecycle import ContactAction, ContactStatus, Permission
from campaign_model.steps import StepSequence
from campaign_model.store.assignment import (
    POSITIONS,
    assign_contacts,
    is_active_in,
    last_activity_in,
)
from campaign_model.store.campaign_rows import UNKNOWN_STATUS
from campaign_model.store.connection import checked_ids, chunks, savepoint
from campaign_model.store.contact_moves import move_contacts
from campaign_model.store.deleting import deleting
from campaign_model.store.locking import lock_campaign, read_campaign
from campaign_model.store.recount import refresh_campaign
from campaign_model.store.scope import Scope
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_erased_claims,
    campaigns,
    value_from_row,
)
from campaign_model.store.totals import Totals, add_to_totals
from campaign_model.store.types import Array, JsonText, any_of, is_one_of, read_contact_status

_EXPORT_PAGE = 1000
_MAX_PAGE = 10_000
_CONTACT = campaign_contacts.c


class Contacts:
    """``store.contacts``. Ids are those of the host's contacts, not of campaign contacts."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def assign(
        self,
        campaign_id: UUID,
        contacts: Iterable[UUID | tuple[UUID, int]] | sa.Select[Any],
        *,
        skip_active: bool = False,
        cooldown: timedelta | None = None,
    ) -> Assigned:
        """Put any number of contacts into a campaign.

        ``contacts`` are ids, pairs of an id and a priority, or a ``Select`` of ids or of such
        pairs. Contacts with a higher priority are generated first, and contacts with the same
        priority in the order of ``contacts``. The priority of an id without one is 0. An iterator
        is read piece by piece. Contacts that are in the campaign already stay as they are.

        ``skip_active`` leaves out the contacts that :meth:`overlaps` would list: those in another
        campaign of the tenant. ``cooldown`` leaves out contacts whose messages in another
        campaign, also in an archived one, were generated or exported less than this time ago. The
        answer names the contacts that either option left out, with the reason. Calls with one of
        these options run one after the other in each tenant, so that two calls never put the same
        contact into two campaigns. That needs the isolation level READ COMMITTED, the default. A
        transaction may contain one call with these options, after all its calls for other
        campaigns; otherwise two transactions could wait for each other.

        Raises :class:`NotFound`, :class:`TransitionNotAllowed`, and :class:`InvalidArgument` for a
        priority beyond ``MAX_PRIORITY`` and for a negative ``cooldown``.
        """
        return assign_contacts(
            self._scope, campaign_id, contacts, skip_active=skip_active, cooldown=cooldown
        )

    def remove(self, campaign_id: UUID, contact_ids: Iterable[UUID]) -> Removed:
        """Take contacts out of a campaign.

        A contact that was ever claimed for generation, or that messages refer to, is not deleted:
        it is excluded, and the answer names it. Raises :class:`NotFound` and
        :class:`TransitionNotAllowed`.
        """
        scope = self._scope
        lock_campaign(scope, campaign_id, Permission.REMOVE_CONTACTS)
        removed = 0
        kept: list[UUID] = []
        for chunk in chunks(checked_ids(contact_ids)):
            removed += self._delete_unclaimed(campaign_id, chunk)
            kept += scope.connection.scalars(
                sa.select(_CONTACT.contact_id).where(
                    scope.of_campaign(campaign_contacts, campaign_id),
                    is_one_of(_CONTACT.contact_id, chunk),
                )
            )
        move_contacts(scope, campaign_id, ContactAction.EXCLUDE, kept)
        return Removed(removed, tuple(kept))

    def exclude(self, campaign_id: UUID, contact_ids: Iterable[UUID]) -> Changed:
        """Take contacts out of generation and export, but keep their rows and costs.

        A contact in flight is excluded too: its cost will be booked, its messages are never
        exported. What is reserved for it stays reserved until its worker reports the outcome, or
        until its lease expires. Raises :class:`NotFound` and :class:`TransitionNotAllowed`.
        """
        lock_campaign(self._scope, campaign_id, Permission.EXCLUDE_CONTACTS)
        ids = checked_ids(contact_ids)
        return move_contacts(self._scope, campaign_id, ContactAction.EXCLUDE, ids)

    def include(self, campaign_id: UUID, contact_ids: Iterable[UUID]) -> Changed:
        """Bring excluded contacts back: they wait again, with the status that their gaps decide.

        A contact that was excluded in flight is skipped until its worker has reported the outcome,
        or until its lease has expired: otherwise it would be paid for twice. Raises as
        :meth:`exclude`.
        """
        scope = self._scope
        lock_campaign(scope, campaign_id, Permission.INCLUDE_CONTACTS)
        ids = checked_ids(contact_ids)
        is_not_in_flight = sa.or_(
            _CONTACT.claim_token.is_(None),
            _CONTACT.lease_expires_at.is_(None),
            _CONTACT.lease_expires_at <= scope.now(),
        )
        return move_contacts(scope, campaign_id, ContactAction.INCLUDE, ids, is_not_in_flight)

    def set_readiness(self, campaign_id: UUID, gaps: Mapping[UUID, Iterable[str]]) -> Changed:
        """Store for each contact its gaps: the names of the fields that its messages need and lack.

        A contact without gaps is ready. If a contact does not wait (it is being generated, or has
        an outcome), its gaps decide its status when it waits again. Raises :class:`NotFound`,
        :class:`TransitionNotAllowed`, and :class:`InvalidArgument` for more than 1000 names, an
        empty name and one of more than 200 characters.
        """
        lock_campaign(self._scope, campaign_id, Permission.SET_READINESS)
        checked_ids(checked_instance(gaps, Mapping, "gaps"))
        contacts_by_gaps: dict[tuple[str, ...], list[UUID]] = {}
        for contact_id, names in gaps.items():
            contacts_by_gaps.setdefault(checked_gaps(names), []).append(contact_id)
        changed = 0
        skipped: list[UUID] = []
        for names, contact_ids in contacts_by_gaps.items():
            action = ContactAction.MARK_NEEDED if names else ContactAction.MARK_OK
            changes = {"enrichment_gaps": sa.literal(json.dumps(names), JsonText())}
            part = move_contacts(self._scope, campaign_id, action, contact_ids, changes=changes)
            changed += part.changed
            skipped += part.skipped
        return Changed(changed, tuple(skipped))

    def erase(
        self,
        contact_ids: Iterable[UUID],
        *,
        delete_messages: Callable[[sa.Connection], object] | None = None,
    ) -> int:
        """Delete contacts from every campaign of the tenant, whatever its status, for privacy.

        Return the number of deleted rows. The costs of the contacts stay in the campaigns' totals.

        Messages that refer to the contacts must be deleted first. ``delete_messages`` can do that:
        it is called with the connection once the campaigns are locked, so that no worker writes
        another message. If a worker holds a contact, a record of its claim without personal data
        stays, so that the worker can book the cost once, with ``record(..., on_lost="book")``.
        Until then, or until the lease expires, the money reserved for the contact stays reserved.

        Raises :class:`Conflict` (``still_referred_to``) while messages refer to a contact; then
        nothing is erased.
        """
        scope = self._scope
        id_chunks = [*chunks(checked_ids(contact_ids))]
        in_campaigns = sa.select(_CONTACT.campaign_id).where(scope.of_tenant(campaign_contacts))
        campaign_ids: set[UUID] = set()
        for chunk in id_chunks:
            of_chunk = in_campaigns.where(is_one_of(_CONTACT.contact_id, chunk)).distinct()
            campaign_ids.update(scope.connection.scalars(of_chunk))
        erased = 0
        with savepoint(scope.connection) as refusal:
            for campaign_id in sorted(campaign_ids):
                read_campaign(scope, campaign_id, lock=True)
            if delete_messages is not None:
                delete_messages(scope.connection)
            with deleting(scope.connection, scope.tenant_id):
                for campaign_id in campaign_ids:
                    for chunk in id_chunks:
                        erased += self._erase(campaign_id, chunk)
                    refresh_campaign(scope, campaign_id)
        if refusal.foreign_key_violated:
            raise Conflict(
                "still_referred_to",
                "messages still refer to these contacts; delete them in the same transaction, "
                "with delete_messages=",
            )
        return erased

    def list(
        self,
        campaign_id: UUID,
        *,
        status: ContactStatus | Collection[ContactStatus] | None = None,
        error_code: str | None = None,
        limit: int = 500,
        after: str | None = None,
    ) -> Page[CampaignContact]:
        """Return a page of a campaign's contacts, in the order of generation.

        ``status`` selects the contacts with this status, or with one of several, and ``error_code``
        those that failed with this code. The ``error`` of a contact is the text of its failure. A
        page has up to ``limit`` contacts (1 to 10,000). ``after`` is the ``next`` of the page
        before. If another program has written steps that cannot be read, every generated contact is
        stale, and a warning is logged. Raises :class:`NotFound`, and :class:`InvalidArgument` for a
        filter, ``limit`` or ``after`` that cannot be used.
        """
        conditions: list[sa.ColumnElement[bool]] = []
        if status is not None:
            statuses = (status,) if isinstance(status, str) else status
            words = [checked_word(ContactStatus, word, "status").value for word in statuses]
            conditions.append(any_of(_CONTACT.status, sa.literal(words, Array(sa.Text))))
        if error_code is not None:
            conditions.append(_CONTACT.error_code == text(error_code, "error_code"))
        checked_number(limit, 1, _MAX_PAGE, "limit")
        campaign_row = read_campaign(self._scope, campaign_id)
        try:
            steps = self._scope.steps(campaign_row)
        except InvalidDocument:
            steps = StepSequence()
            ids = {"tenant_id": str(self._scope.tenant_id), "campaign_id": str(campaign_id)}
            store_log.warning("the steps of a campaign cannot be read", extra=ids)
        return self._page(campaign_id, steps, conditions, limit, after)

    def exportable(self, campaign_id: UUID) -> Iterator[CampaignContact]:
        """Yield every contact whose messages may be sent, to read them, for example in a preview.

        These are the generated contacts of an approved or exported campaign, without the excluded
        ones. An exported contact has an ``exported_at``. To send messages, use
        :func:`campaign_model.worker.run_export` or ``store.export``: a list that is sent in a
        transaction is sent again if the transaction is repeated.

        Only the messages whose ids follow from the campaign's slots and the contact's ``revision``
        (:meth:`MessageSlot.message_id`) may be sent. Other messages of the contact belong to an
        earlier revision.

        This call locks the campaign exclusively, and contacts are read while you iterate. Raises
        :class:`NotFound` and :class:`TransitionNotAllowed` before the first contact.
        """
        campaign_row = lock_campaign(self._scope, campaign_id, Permission.LIST_EXPORTABLE)
        return self._iterate_generated(campaign_id, self._scope.steps(campaign_row))

    def overlaps(self, campaign_id: UUID) -> tuple[Overlap, ...]:
        """Return the contacts that are also in another campaign of the tenant.

        The contact that was last exported, generated, claimed or assigned there comes first.
        Excluded contacts and archived campaigns do not count. Raises :class:`NotFound`.
        """
        scope = self._scope
        read_campaign(scope, campaign_id)
        mine, theirs = campaign_contacts.alias("mine"), campaign_contacts.alias("theirs")
        last_activity = last_activity_in(theirs)
        rows = scope.connection.execute(
            sa.select(
                theirs.c.contact_id,
                theirs.c.campaign_id,
                campaigns.c.name,
                theirs.c.status,
                last_activity,
            )
            .where(
                scope.of_campaign(mine, campaign_id),
                mine.c.status != ContactStatus.EXCLUDED.value,
                scope.of_tenant(theirs),
                theirs.c.contact_id == mine.c.contact_id,
                theirs.c.campaign_id != mine.c.campaign_id,
                scope.of_tenant(campaigns),
                campaigns.c.id == theirs.c.campaign_id,
                is_active_in(theirs),
            )
            .order_by(last_activity.desc(), theirs.c.id)
        )
        return tuple(
            Overlap(contact_id, other_id, name, read_contact_status(status), at)
            for contact_id, other_id, name, status, at in rows
        )

    def _delete_unclaimed(self, campaign_id: UUID, contact_ids: Sequence[UUID]) -> int:
        """Delete contacts that were never claimed and that no row refers to; return their number.

        The database refuses the whole DELETE if a row refers to one of the contacts. Then delete
        each half of the contacts by itself, down to single contacts.
        """
        scope = self._scope
        with savepoint(scope.connection) as refusal:
            statuses = scope.connection.scalars(
                sa.delete(campaign_contacts)
                .where(
                    scope.of_campaign(campaign_contacts, campaign_id),
                    is_one_of(_CONTACT.contact_id, contact_ids),
                    _CONTACT.claimed_at.is_(None),
                )
                .returning(_CONTACT.status)
            ).all()
            delta = Totals()
            for status in statuses:
                delta.counts[status] -= 1
            add_to_totals(scope, campaign_id, delta)
        if not refusal.foreign_key_violated:
            return len(statuses)
        if len(contact_ids) == 1:
            return 0
        middle = len(contact_ids) // 2
        halves = contact_ids[:middle], contact_ids[middle:]
        return sum(self._delete_unclaimed(campaign_id, half) for half in halves)

    @exact_money()
    def _erase(self, campaign_id: UUID, contact_ids: Sequence[UUID]) -> int:
        """Delete contacts from one campaign, but keep their costs and the claims that hold them.

        Return the number of deleted contacts.
        """
        # 1. Keep the claims of workers, each with its reservation, until their costs are booked.
        scope = self._scope
        chosen = sa.and_(
            scope.of_campaign(campaign_contacts, campaign_id),
            is_one_of(_CONTACT.contact_id, contact_ids),
        )
        kept_columns = {
            "tenant_id": _CONTACT.tenant_id,
            "campaign_contact_id": _CONTACT.id,
            "campaign_id": _CONTACT.campaign_id,
            "token": _CONTACT.claim_token,
            "reserved": _CONTACT.reserved,
            "lease_expires_at": _CONTACT.lease_expires_at,
        }
        claims = sa.select(*kept_columns.values()).where(
            chosen,
            _CONTACT.claim_token.is_not(None),
            # The claim of an exporter has no cost to book.
            _CONTACT.status != ContactStatus.GENERATED.value,
        )
        scope.connection.execute(
            sa.insert(campaign_erased_claims).from_select([*kept_columns], claims)
        )
        # 2. Delete the contacts, and change the totals: costs stay as costs of erased contacts, and
        #    the reservations of claims stay as they are.
        rows = scope.connection.execute(
            sa.delete(campaign_contacts).where(chosen).returning(campaign_contacts)
        ).all()
        delta = Totals()
        for row in rows:
            delta.counts[row.status] -= 1
            delta.exported -= row.exported_at is not None
            delta.cost -= row.generation_cost
            delta.erased_cost += row.generation_cost
            delta.unknown_costs -= row.unknown_costs
            delta.erased_unknown_costs += row.unknown_costs
            if row.claim_token is None:
                delta.reserved -= row.reserved
        add_to_totals(scope, campaign_id, delta)
        return len(rows)

    def _page(
        self,
        campaign_id: UUID,
        steps: StepSequence,
        conditions: Iterable[sa.ColumnElement[bool]],
        limit: int,
        after: str | None,
    ) -> Page[CampaignContact]:
        """Return the page of contacts after the cursor ``after``, or the first page without one.

        ``steps`` are the campaign's present steps. A contact that was generated from other steps is
        stale.
        """
        query = sa.select(campaign_contacts).where(
            self._scope.of_campaign(campaign_contacts, campaign_id), *conditions
        )
        if after is not None:
            rank, id_ = _parse_cursor(after)
            query = query.where(
                sa.or_(_CONTACT.rank > rank, sa.and_(_CONTACT.rank == rank, _CONTACT.id > id_))
            )
        # One more than the page holds, to see whether there is another page.
        rows = self._scope.connection.execute(
            query.order_by(_CONTACT.rank, _CONTACT.id).limit(limit + 1)
        ).all()
        contacts = tuple(contact_from_row(row, steps) for row in rows[:limit])
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(contacts, None if last is None else f"{last.rank}:{last.id}")

    def _iterate_generated(
        self, campaign_id: UUID, steps: StepSequence
    ) -> Iterator[CampaignContact]:
        """Yield all generated contacts, read page by page."""
        is_generated = [_CONTACT.status == ContactStatus.GENERATED.value]
        after = None
        while True:
            page = self._page(campaign_id, steps, is_generated, _EXPORT_PAGE, after)
            yield from page.items
            if page.next is None:
                return
            after = page.next


def contact_from_row(row: sa.Row[Any], steps: StepSequence) -> CampaignContact:
    """Make a campaign contact of its row; ``steps`` are the campaign's present ones."""
    gaps = row.enrichment_gaps
    status = read_contact_status(row.status)
    error = {"error_code": row.error_code, "error": row.error}
    if status != row.status:
        error["error_code"] = UNKNOWN_STATUS
        error["error"] = f"another program has written the status {short_repr(row.status)}"
    return value_from_row(
        CampaignContact,
        row,
        status=status,
        enrichment_gaps=None if gaps is None else tuple(json.loads(gaps)),
        priority=-(row.rank // POSITIONS),  # As store.assignment composes a rank.
        cost=row.generation_cost,
        **error,
        stale=(
            row.status == ContactStatus.GENERATED and row.steps_fingerprint != steps.fingerprint
        ),
    )


def _parse_cursor(cursor: str) -> tuple[int, UUID]:
    """Return the rank and the id that ``cursor`` contains: those of the last contact of a page.

    Raise :class:`InvalidArgument` for anything else.
    """
    try:
        rank, id_ = text(cursor, "after").split(":")
        return Cursor(int(rank)).rank, UUID(id_)  # Cursor refuses a rank out of range.
    except ValueError as error:
        message = f"after is the `next` of an earlier page, not {short_repr(cursor)}"
        raise InvalidArgument("after", message) from error
