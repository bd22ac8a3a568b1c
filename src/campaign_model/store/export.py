"""Export: generated contacts are handed out under leases, and marked as exported one by one.

Theory of operation
===================

An exporter *pushes* the messages of contacts: it sends them to another system. No transaction is
open while it pushes. Like a worker, it repeats two short transactions: one claims contacts, the
other one records that they were pushed. A contact keeps its status ``generated``.

**Claim.** 1. Lock the campaign; it must be exported. 2. Take generated contacts that are not
exported and that no claim holds, by rank, from the exporter's cursor on. 3. If these are too few,
take over contacts whose lease has expired, wherever they are. 4. Write a new token and the end of
the lease into each contact.

**Record.** 1. Lock the campaign, then the contacts by id. 2. If the claim's token is in the
contact's row, write ``exported_at`` and add the contact to the totals. 3. The token stays in the
row. If the same claim is recorded again, the answer is ``already``. 4. In any other case the claim
is lost. Mark all contacts, or none.

*Invariant: a contact is marked once, by the claim whose token is in its row. So it is pushed once,
or again only if the outcome of its push is unknown: the push raised, or the exporter died between
push and record.* The receiver recognises a repeated push by the ids of the messages.

Every method here locks the campaign exclusively (:mod:`campaign_model.store.locking`), for the few
milliseconds of its transaction. An erased contact is gone, and the claim on it is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from campaign_model._values import utc
from campaign_model.claims import (
    Claim,
    ClaimBatch,
    Cursor,
    Recorded,
    Renewal,
    StopReason,
    campaign_of,
    check_lease,
)
from campaign_model.errors import LeaseLost
from campaign_model.lifecycle import Permission, is_permitted
from campaign_model.store import postgresql, sqlite
from campaign_model.store.claiming import PAUSE, check_claim, log_takeover
from campaign_model.store.locking import lock_claimed
from campaign_model.store.scope import Scope
from campaign_model.store.statements import (
    GENERATED,
    CampaignRow,
    HeldContact,
    Parameters,
    Statements,
    statement,
)
from campaign_model.store.tables import LOWEST_RANK, campaign_contacts
from campaign_model.store.totals import Totals, add_to_totals, load_totals
from campaign_model.store.types import is_one_of, read_status

# Find the first contacts to hand out, by rank: those without a lease from :first_unclaimed on, and
# those whose lease has expired.
#
# "CASE ... IS NOT NULL" hides from PostgreSQL's planner which contacts these are. If it expects
# few, it sorts all contacts of the campaign instead of walking along the index of ranks. A
# subquery, (SELECT :name), hides a value (see postgresql.py).
FIND = f"""
SELECT id, contact_id, attempts, revision, rank, lease_expires_at
FROM campaign_contacts
WHERE tenant_id = :tenant
  AND campaign_id = (SELECT :campaign)
  AND rank >= (SELECT :first_rank)
  AND CASE
          WHEN status = '{GENERATED}'
           AND exported_at IS NULL
           AND (
               lease_expires_at <= :now
               OR (lease_expires_at IS NULL AND rank >= :first_unclaimed)
           )
          THEN true
      END IS NOT NULL
ORDER BY rank
LIMIT (SELECT :number)
"""  # noqa: S608 - our own names

# Find when a claim may get more contacts: when the first lease expires, or :soon.
NEXT_CHANCE = f"""
SELECT min(
           CASE
               WHEN lease_expires_at IS NOT NULL THEN lease_expires_at
               WHEN rank >= :first_unclaimed THEN :soon
           END
       ) AS next_expiry
FROM campaign_contacts
WHERE tenant_id = :tenant
  AND campaign_id = (SELECT :campaign)
  AND status = '{GENERATED}'
  AND exported_at IS NULL
"""  # noqa: S608 - our own names

_FOUND = ("id", "contact_id", "attempts", "revision", "rank", "lease_expires_at")
_FIND_ON_POSTGRESQL = statement(f"{FIND} FOR NO KEY UPDATE SKIP LOCKED", *_FOUND)
_FIND_ON_SQLITE = statement(FIND, *_FOUND)
_NEXT_CHANCE = statement(NEXT_CHANCE, "next_expiry")


class Export:
    """``store.export``. :func:`campaign_model.worker.run_export` calls it for you."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._statements: Statements = postgresql if scope.on_postgresql else sqlite

    def claim(
        self, campaign_id: UUID, limit: int, lease: timedelta, *, cursor: Cursor | None = None
    ) -> ClaimBatch:
        """Hand out up to ``limit`` contacts, to push their messages before ``lease`` runs out.

        These are generated contacts of an exported campaign that were not exported yet and that no
        other claim holds. They come in the order of generation, contacts whose lease has expired
        last. If there are fewer than ``limit``, the batch says why; that is no error.

        ``cursor`` is the cursor of your last batch. Contacts before it that were released are not
        handed out, so that one run does not try a failing push again and again. Without a cursor,
        every contact that is left can be handed out.

        Raises :class:`NotFound` and :class:`InvalidArgument`.
        """
        cursor = check_claim(campaign_id, limit, lease, cursor)
        scope = self._scope

        # 1. Lock the campaign.
        campaign_row, _ = self._lock(campaign_id, ())
        now = utc(campaign_row.now)
        steps, config = scope.steps(campaign_row), scope.config(campaign_row)
        if not is_permitted(Permission.EXPORT_CONTACTS, read_status(campaign_row.status)):
            return ClaimBatch((), StopReason.NOT_EXPORTED, None, now, cursor, steps, config)

        # 2. Take contacts from the cursor on.
        token, expires_at = uuid4(), now + lease
        # Where a cursor writes parameters into the text, PostgreSQL cannot read the lowest bigint.
        first_rank = max(cursor.rank, LOWEST_RANK)
        parameters = {
            "tenant": scope.tenant_id,
            "campaign": campaign_id,
            "now": now,
            "soon": now + PAUSE,
            "first_unclaimed": first_rank,
        }
        found = self._find(parameters, first_rank, limit)
        self._update(found, claim_token=token, lease_expires_at=expires_at)
        next_cursor = Cursor(found[-1].rank + 1) if found else cursor

        # 3. If these are too few, take over contacts whose lease has expired.
        retry_at = None
        if len(found) < limit and load_totals(scope, campaign_id).unexported:
            retry_at = self._find_next_chance(parameters)
            if retry_at is not None and retry_at <= now:
                expired = self._find(parameters, LOWEST_RANK, limit - len(found))
                self._update(expired, claim_token=token, lease_expires_at=expires_at)
                found += expired
                retry_at = self._find_next_chance(parameters)

        # 4. If the contacts are still too few, say why.
        stop = None
        if len(found) == limit:
            retry_at = None
        elif retry_at is None:
            stop = StopReason.DRAINED
        else:
            stop = StopReason.LEASES_PENDING
            if retry_at <= now:  # Another transaction has locked the contact right now.
                retry_at = now + PAUSE
        for contact in found:
            if contact.lease_expires_at is not None:
                log_takeover(scope, campaign_id, contact)
        claims = tuple(
            Claim(
                id=contact.id,
                campaign_id=campaign_id,
                contact_id=contact.contact_id,
                token=token,
                expires_at=expires_at,
                attempts=contact.attempts,
                revision=contact.revision,
                steps_fingerprint=steps.fingerprint,
            )
            for contact in found
        )
        return ClaimBatch(claims, stop, retry_at, now, next_cursor, steps, config)

    def renew(self, claims: Iterable[Claim], lease: timedelta) -> Renewal:
        """Extend the leases of one campaign's claims until ``lease`` from now.

        The answer names the ``lost`` claims, whose contacts were taken over, exported, released or
        erased. ``cancelled`` is true if the campaign is no longer exported. Raises
        :class:`NotFound` if the campaign does not exist, and :class:`InvalidArgument` for claims of
        several campaigns or of none.
        """
        check_lease(lease)
        claims = tuple(claims)
        campaign_row, contacts = self._lock(campaign_of(claims), claims)
        # A claim is held if an export that is recorded now would be applied.
        held = {claim for claim in claims if _answer(claim, contacts) is Recorded.APPLIED}
        expires_at = utc(campaign_row.now) + lease
        self._update(held, lease_expires_at=expires_at)
        lost_ids = tuple(claim.id for claim in claims if claim not in held)
        is_exported = is_permitted(Permission.EXPORT_CONTACTS, read_status(campaign_row.status))
        return Renewal(expires_at, lost_ids, cancelled=not is_exported)

    def record(
        self, claims: Iterable[Claim], *, release: Iterable[Claim] = ()
    ) -> dict[Claim, Recorded]:
        """Record that the contacts of one campaign's claims were pushed; mark them as exported.

        Mark all of them or, if this call raises, none. The answer for each claim is ``APPLIED``,
        or ``ALREADY`` if this claim was recorded before. A push also counts if the campaign was
        archived since. The claims of ``release`` are given back, as :meth:`release` does.

        Raises :class:`NotFound`, :class:`InvalidArgument` for claims of several campaigns, and
        :class:`LeaseLost` with the ids of all pushed contacts that were taken over, released or
        erased.
        """
        claims, failed = tuple(claims), tuple(release)
        if not (claims or failed):
            return {}
        campaign_id = campaign_of((*claims, *failed))
        campaign_row, contacts = self._lock(campaign_id, (*claims, *failed))
        answers = {claim: _answer(claim, contacts) for claim in (*claims, *failed)}
        lost_ids = tuple(claim.id for claim in claims if answers[claim] is Recorded.SKIPPED)
        if lost_ids:
            raise LeaseLost(lost_ids)

        held = {claim for claim, answer in answers.items() if answer is Recorded.APPLIED}
        now = utc(campaign_row.now)
        number = self._update(held.intersection(claims), exported_at=now, lease_expires_at=None)
        self._update(held.intersection(failed), claim_token=None, lease_expires_at=None)
        add_to_totals(self._scope, campaign_id, Totals(exported=number))
        return answers

    def release(self, claims: Iterable[Claim]) -> dict[Claim, Recorded]:
        """Give contacts back that were not pushed, so that they can be claimed again.

        The answer for each claim is ``APPLIED``, ``ALREADY`` for a contact that this claim has
        exported, or ``SKIPPED`` for a lost claim. Raises :class:`NotFound`, and
        :class:`InvalidArgument` for claims of several campaigns.
        """
        return self.record((), release=claims)

    def _lock(
        self, campaign_id: UUID, claims: Sequence[Claim]
    ) -> tuple[CampaignRow, dict[UUID, HeldContact]]:
        """Lock the campaign exclusively, then the contacts of the claims by id, and return both."""
        return lock_claimed(self._scope, self._statements, campaign_id, claims, exclusively=True)

    def _find(self, parameters: Parameters, first_rank: int, number: int) -> list[sa.Row[Any]]:
        """Find and lock up to ``number`` contacts to hand out, from ``first_rank`` on."""
        find = _FIND_ON_POSTGRESQL if self._scope.on_postgresql else _FIND_ON_SQLITE
        place = {"first_rank": first_rank, "number": number}
        return [*self._scope.connection.execute(find, {**parameters, **place})]

    def _find_next_chance(self, parameters: Parameters) -> datetime | None:
        """Return when a claim may get more contacts; None if it gets no more."""
        chance: datetime | None = self._scope.connection.scalar(_NEXT_CHANCE, parameters)
        return chance

    def _update(self, contacts: Iterable[Any], **values: Any) -> int:
        """Write ``values`` into the locked contacts, and return their number."""
        ids = sorted({contact.id for contact in contacts})
        if not ids:
            return 0
        updated = self._scope.connection.execute(
            sa.update(campaign_contacts)
            .where(self._scope.of_tenant(campaign_contacts), is_one_of(campaign_contacts.c.id, ids))
            .values(**values)
        )
        return updated.rowcount


def _answer(claim: Claim, contacts: dict[UUID, HeldContact]) -> Recorded:
    """Return ``APPLIED`` if the claim holds its contact, ``ALREADY`` if it has exported it.

    ``SKIPPED`` means that the claim is lost.
    """
    contact = contacts.get(claim.id)
    if contact is None or contact.claim_token != claim.token:
        return Recorded.SKIPPED
    if contact.exported_at is not None:
        return Recorded.ALREADY
    return Recorded.APPLIED if contact.status == GENERATED else Recorded.SKIPPED
