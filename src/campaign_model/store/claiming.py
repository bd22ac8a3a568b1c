"""The claim: which contacts a worker gets, in which order, and why it got no more.

``generation.py`` tells the protocol. One call runs the claim statement once in the usual case, and
again where a cursor, a budget or unread documents ask for it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any
from uuid import UUID, uuid4

import attrs

from campaign_model import lifecycle
from campaign_model._values import EXACT, money, utc
from campaign_model.claims import Claim, ClaimBatch, Cursor, StopReason
from campaign_model.errors import NotFound
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Permission, Status
from campaign_model.steps import StepSequence
from campaign_model.store.campaign_documents import (
    CampaignDocuments,
    last_read_documents,
    read_documents,
)
from campaign_model.store.locking import campaign_parameters
from campaign_model.store.scope import Scope
from campaign_model.store.statements import FAILED, CampaignRow, ClaimedContact, Statements
from campaign_model.store.tables import HIGHEST_RANK
from campaign_model.store.totals import (
    Totals,
    add_to_totals,
    choose_shard,
    load_totals,
    reserve_budget,
)

__all__ = ["claim_contacts", "may_claim"]

_PAUSE = timedelta(seconds=1)
"""When to claim again if contacts are due, but locked by other transactions."""

_WATERMARK_STRIDE = 1024
"""The low-water mark rises when a contact whose rank is a multiple of this is claimed.

At the end of a campaign every worker looks once more from the low-water mark on, and should not
walk over much more than this.
"""

_ZERO = Decimal(0)
_START = Cursor()
_NO_DOCUMENTS = CampaignDocuments("", "", StepSequence(), GenerationConfig())
(_CLAIMING_STATUS,) = lifecycle.PERMISSIONS[Permission.CLAIM]


def claim_contacts(
    scope: Scope,
    statements: Statements,
    campaign_id: UUID,
    limit: int,
    lease: timedelta,
    *,
    reserve: Decimal | None,
    cursor: Cursor | None,
    max_attempts: int,
) -> ClaimBatch:
    """Do the work of :meth:`Generation.claim`, whose arguments are checked."""
    first_rank = None if cursor is None or cursor == _START else cursor.rank
    takeover_limit = limit if first_rank is None else 0
    call = _ClaimCall(scope, statements, campaign_id, lease, max_attempts)

    # 1. Lock the campaign. If it still is what this process last read, and has no budget, the
    #    same statement claims, from the cursor on.
    call.documents = last_read_documents(campaign_id)
    has_claimed = call.documents is not None and call.documents.config.budget is None
    campaign_row = call.claim(limit, first_rank, takeover_limit) if has_claimed else call.lock()
    if campaign_row is not None:
        has_claimed = False
        call.documents = read_documents(scope, campaign_id, campaign_row)
        if not may_claim(campaign_row.status):
            return call.batch(StopReason.NOT_GENERATING, None, cursor or _START)

    # 2. With a budget, reserve money first. Claim from the cursor on.
    granted = limit
    if call.config.budget is not None:
        granted = call.reserve_budget(reserve, limit)
    if not has_claimed:
        call.claim(granted, first_rank, takeover_limit)

    # 3. If that is not enough, look once more: before the cursor, and for expired leases.
    is_short = len(call.contacts) < limit
    may_get_more = not is_short or load_totals(scope, campaign_id).may_have_unfinished
    if first_rank is None or (is_short and may_get_more) or call.has_passed_stride:
        call.raise_low_watermark()
    if is_short and may_get_more:
        call.claim(
            granted - call.fresh_count,
            None,
            limit - len(call.contacts),
            end_rank=HIGHEST_RANK if first_rank is None else first_rank,
        )
    unused = EXACT.multiply(call.reserve, call.fresh_count - granted)
    call.add_to_totals(Totals(reserved=unused))

    # 4. If it still is not enough, say why.
    stop, retry_at = None, None
    if not may_get_more:
        stop = StopReason.DRAINED
    elif len(call.contacts) < limit:
        is_short_of_money = call.fresh_count == granted < limit
        stop, retry_at = call.why_short(is_short_of_money=is_short_of_money)
    return call.batch(stop, retry_at, call.next_cursor)


@attrs.define
class _ClaimCall:
    """One call of ``claim``: what it asks for, and the contacts that it got so far."""

    scope: Scope
    statements: Statements
    campaign_id: UUID
    lease: timedelta
    max_attempts: int
    token: UUID = attrs.field(factory=uuid4)
    reserve: Decimal = _ZERO
    documents: CampaignDocuments | None = None
    now: datetime | None = None
    contacts: list[ClaimedContact] = attrs.field(factory=list)
    fresh_count: int = 0
    has_passed_stride: bool = False
    next_cursor: Cursor = _START

    @property
    def config(self) -> GenerationConfig:
        """The campaign's settings."""
        assert self.documents is not None, "read in the first step"
        return self.documents.config

    def lock(self) -> CampaignRow | None:
        """Lock the campaign and claim nothing. Return as :meth:`claim` does."""
        return self.claim(0, None, 0)

    def claim(
        self,
        number: int,
        first_rank: int | None,
        takeover_limit: int,
        *,
        end_rank: int = HIGHEST_RANK,
    ) -> CampaignRow | None:
        """Lock the campaign and claim up to ``number`` contacts that wait, by rank.

        Then take over expired ones, as long as this statement claims fewer than
        ``takeover_limit`` in all. If the campaign is not generating, or not what this process
        last read, claim nothing and return its row. Raise :class:`NotFound`.
        """
        documents = self.documents or _NO_DOCUMENTS
        parameters = {
            **campaign_parameters(self.scope, self.campaign_id),
            "now": self.now or self.scope.time_of_clock(),
            "expected_status": _CLAIMING_STATUS,
            "template_config": documents.template_config,
            "generation_config": documents.generation_config,
            "fingerprint": documents.steps.fingerprint,
            "shard": choose_shard(self.scope, _CLAIMING_STATUS, documents.config),
            "token": self.token,
            "lease": self.lease,
            "reserve": self.reserve,
            "max_attempts": self.max_attempts,
            "number": number,
            "first_rank": first_rank,
            "end_rank": end_rank,
            "takeover_limit": takeover_limit,
        }
        result = self.statements.claim(self.scope.connection, parameters)
        if result is None:
            raise NotFound("campaign", (self.campaign_id,))
        self.now = utc(result.now)
        claimed = sorted(result.contacts, key=attrgetter("is_takeover", "rank"))
        fresh = [contact for contact in claimed if not contact.is_takeover]
        self.contacts += claimed
        self.fresh_count += len(fresh)
        if fresh:
            self.next_cursor = Cursor(fresh[-1].rank + 1)
            self.has_passed_stride |= any(
                contact.rank % _WATERMARK_STRIDE == 0 for contact in fresh
            )
        return result.campaign

    def reserve_budget(self, reserve: Decimal | None, limit: int) -> int:
        """Set money aside for up to ``limit`` claims; return for how many there is room."""
        assert self.config.budget is not None
        if reserve is None:
            raise ValueError(
                "this campaign has a budget: say with reserve= what one contact may cost"
            )
        self.reserve = money(reserve)
        return reserve_budget(self.scope, self.campaign_id, self.config.budget, self.reserve, limit)

    def raise_low_watermark(self) -> None:
        """Raise the low-water mark to the first unfinished contact."""
        self.statements.raise_low_watermark(self.scope.connection, self._parameters())

    def add_to_totals(self, delta: Totals) -> None:
        """Add to the shard of this call."""
        parameters = self._parameters()
        add_to_totals(
            self.scope.connection,
            self.scope.tenant_id,
            self.campaign_id,
            parameters["shard"],
            delta,
        )

    def why_short(self, *, is_short_of_money: bool) -> tuple[StopReason, datetime | None]:
        """Return why a claim got fewer contacts than it asked for, and when it may get more.

        Contacts that were claimed too often fail here.
        """
        assert self.now is not None, "claimed before"
        soon = self.now + _PAUSE
        parameters = self._parameters() | {
            "now": self.now,
            "soon": soon,
            "max_attempts": self.max_attempts,
        }
        chance = self.statements.find_next_chance(self.scope.connection, parameters)
        if chance.any_exhausted:
            delta = Totals()
            for status, reserved in self.statements.fail_exhausted(
                self.scope.connection, parameters
            ):
                delta.move(status, FAILED)
                delta.reserved = EXACT.subtract(delta.reserved, reserved)
            self.add_to_totals(delta)
            chance = self.statements.find_next_chance(self.scope.connection, parameters)
        next_expiry, next_try = chance.next_expiry, chance.next_try
        if is_short_of_money and next_try is not None:
            if next_expiry is None:
                return StopReason.BUDGET, None
            next_try = None
        moments = [moment for moment in (next_expiry, next_try) if moment is not None]
        if not moments:
            return StopReason.DRAINED, None
        # A contact that is due and was not claimed is locked by another transaction right now.
        return StopReason.LEASES_PENDING, min(moments) if min(moments) > self.now else soon

    def batch(
        self, stop: StopReason | None, retry_at: datetime | None, cursor: Cursor
    ) -> ClaimBatch:
        """Return the claims of this call."""
        assert self.documents is not None, "read in the first step"
        assert self.now is not None, "claimed before"
        steps, expires_at = self.documents.steps, self.now + self.lease
        claims = tuple(
            Claim(
                id=contact.id,
                campaign_id=self.campaign_id,
                contact_id=contact.contact_id,
                token=self.token,
                expires_at=expires_at,
                attempts=contact.attempts,
                revision=contact.revision,
                steps_fingerprint=steps.fingerprint,
                reserved=contact.reserved,
            )
            for contact in self.contacts
        )
        return ClaimBatch(claims, stop, retry_at, self.now, cursor, steps, self.documents.config)

    def _parameters(self) -> dict[str, Any]:
        return {
            "tenant": self.scope.tenant_id,
            "campaign": self.campaign_id,
            "shard": choose_shard(self.scope, _CLAIMING_STATUS, self.config),
        }


def may_claim(status: str) -> bool:
    """Return whether contacts may be claimed while the campaign has this status."""
    return Status(status) in lifecycle.PERMISSIONS[Permission.CLAIM]
