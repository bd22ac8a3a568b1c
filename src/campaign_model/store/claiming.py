"""The claim: choose the contacts that a worker gets, and say why it gets no more.

``generation.py`` describes the protocol. In the usual case, a call of ``claim`` executes the claim
statement once. It executes the statement a second time if this process has not read the campaign's
documents yet or they have changed, if the campaign has a budget, or if too few contacts wait after
the worker's cursor (the rank at which its search starts).

Every contact below the low-water mark is finished, so a search without a cursor starts there.
Raising the mark costs a query, so not every claim raises it (:data:`_WATERMARK_STRIDE`).

The documents of a campaign are its steps and its settings. This module keeps the documents that
this process has read last (:class:`CampaignDocuments`). The statements that claim contacts or
record outcomes get these documents as parameters, and change nothing if the campaign row contains
other ones. So a worker need not read the documents before each claim, and an outdated entry does no
harm.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any
from uuid import UUID, uuid4

import attrs

from campaign_model import lifecycle
from campaign_model._caches import BoundedCache
from campaign_model._logs import store_log
from campaign_model._values import EXACT, checked_id, checked_instance, checked_number, utc
from campaign_model.claims import Claim, ClaimBatch, Cursor, StopReason, check_lease
from campaign_model.errors import InvalidArgument, InvalidDocument
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Permission
from campaign_model.steps import StepSequence
from campaign_model.store.budget import reserve_budget
from campaign_model.store.locking import campaign_parameters
from campaign_model.store.scope import Scope
from campaign_model.store.statements import FAILED, CampaignRow, ClaimedContact, Statements
from campaign_model.store.totals import Totals, add_to_totals, choose_shard, load_totals
from campaign_model.store.types import read_status

MAX_CLAIM = 10_000
"""The most contacts that one claim takes."""

PAUSE = timedelta(seconds=1)
"""When to claim again if contacts are due, but locked by other transactions."""

_WATERMARK_STRIDE = 1024
"""A claim of a contact whose rank is a multiple of this number raises the low-water mark.

At the end of a campaign, every worker searches from this mark on, and should not read many more
finished contacts than this number.
"""

_ZERO = Decimal(0)
_START = Cursor()
(_CLAIMING_STATUS,) = lifecycle.PERMISSIONS[Permission.CLAIM]

documents_last_read: BoundedCache[UUID, CampaignDocuments] = BoundedCache(max_bytes=4_194_304)
"""The documents that this process has read last, by the id of the campaign."""


@attrs.frozen
class CampaignDocuments:
    """A campaign's documents: the row's text, and the values read from it.

    ``are_readable`` is false if the library cannot read the text; then the values are empty.
    """

    template_config: str
    generation_config: str
    steps: StepSequence
    config: GenerationConfig
    are_readable: bool = True

    def parameters(self, scope: Scope, campaign_id: UUID, status: str) -> dict[str, Any]:
        """Return the parameters of a statement that expects these documents and ``status``."""
        return {
            **campaign_parameters(scope, campaign_id),
            "expected_status": status,
            "template_config": self.template_config,
            "generation_config": self.generation_config,
            "shard": choose_shard(scope, status, self.config),
        }


def check_claim(campaign_id: UUID, limit: int, lease: timedelta, cursor: Cursor | None) -> Cursor:
    """Check the arguments of a claim; return the cursor at which its search begins."""
    checked_id(campaign_id, "campaign_id")
    checked_number(limit, 1, MAX_CLAIM, "limit")
    check_lease(lease)
    return _START if cursor is None else checked_instance(cursor, Cursor, "cursor")


def read_documents(scope: Scope, campaign_id: UUID, row: CampaignRow) -> CampaignDocuments:
    """Read the documents in the campaign row, keep them for later calls, and return them."""
    texts = (row.template_config, row.generation_config)
    documents = CampaignDocuments(*texts, scope.steps(row), scope.config(row))
    documents_last_read.keep(campaign_id, documents, sum(map(sys.getsizeof, texts)))
    return documents


def read_documents_for_outcomes(
    scope: Scope, campaign_id: UUID, row: CampaignRow
) -> CampaignDocuments:
    """Read the documents for outcomes, which count even if the documents cannot be read.

    Another program may have written documents that the library refuses. Then return empty ones that
    are marked as not readable. They have no budget: until the documents are corrected, no contact
    can be claimed, and later claims count what all shards spent.
    """
    try:
        return read_documents(scope, campaign_id, row)
    except InvalidDocument:
        texts = (row.template_config, row.generation_config)
        return CampaignDocuments(*texts, StepSequence(), GenerationConfig(), are_readable=False)


_NO_DOCUMENTS = CampaignDocuments("", "", StepSequence(), GenerationConfig())
"""No campaign has these, so a claim that expects them only locks the campaign."""


@attrs.define
class ClaimCall:
    """One call of :meth:`Generation.claim`.

    ``limit``, ``lease`` and ``max_attempts`` are the arguments of that call, ``reserve`` is the
    money to reserve for each contact. ``token`` is written into every claimed contact. The other
    fields change while the call runs: ``documents`` and ``now`` are those of its last statement,
    and ``contacts`` are the contacts that it has claimed so far.
    """

    scope: Scope
    statements: Statements
    campaign_id: UUID
    limit: int
    lease: timedelta
    max_attempts: int
    token: UUID = attrs.field(factory=uuid4)
    reserve: Decimal = _ZERO
    documents: CampaignDocuments = _NO_DOCUMENTS
    now: datetime | None = None
    contacts: list[ClaimedContact] = attrs.field(factory=list)

    def run(self, reserve: Decimal | None, cursor: Cursor) -> ClaimBatch:
        """Claim up to ``limit`` contacts whose rank is not below the cursor, and return the batch.

        A campaign with a budget needs ``reserve``: what one contact may cost.
        """
        scope, limit = self.scope, self.limit
        first_rank = None if cursor == _START else cursor.rank

        # 1. Lock the campaign. If the campaign row still has the documents that this process last
        #    read, and has no budget, the same statement claims contacts from the cursor on.
        self.documents = documents_last_read.get(self.campaign_id) or _NO_DOCUMENTS
        has_claimed = self.documents.config.budget is None
        changed_campaign = self.claim(limit if has_claimed else 0, first_rank)
        if changed_campaign is not None:
            has_claimed = False
            self.documents = read_documents(scope, self.campaign_id, changed_campaign)
            if not lifecycle.is_permitted(Permission.CLAIM, read_status(changed_campaign.status)):
                return self.batch(StopReason.NOT_GENERATING, None, cursor)

        # 2. With a budget, reserve money first. Claim from the cursor on.
        granted = limit
        freed_at: datetime | None = None
        budget = self.documents.config.budget
        if budget is not None:
            if reserve is None:
                raise InvalidArgument(
                    "reserve",
                    "this campaign has a budget: say with reserve= what one contact may cost",
                )
            self.reserve = reserve
            assert self.now is not None, "step 1 sets it"
            granted, freed_at = reserve_budget(
                scope, self.campaign_id, budget, self.reserve, limit, self.now
            )
        if not has_claimed:
            self.claim(granted, first_rank)

        # 3. If these contacts are too few, search a second time, from the low-water mark on. Then
        #    take over contacts whose lease has expired; they keep their reservations.
        is_short = len(self.contacts) < limit
        may_get_more = not is_short or load_totals(scope, self.campaign_id).may_have_unfinished
        looks_again = is_short and may_get_more
        has_passed_stride = any(one.rank % _WATERMARK_STRIDE == 0 for one in self.contacts)
        if first_rank is None or looks_again or has_passed_stride:
            scope.connection.execute(self.statements.raise_low_watermark, self.parameters())
        if looks_again and first_rank is not None:
            self.claim(granted - len(self.contacts), None)
        # Contacts that are taken over do not move the cursor.
        next_cursor = Cursor(self.contacts[-1].rank + 1) if self.contacts else _START
        fresh_count = len(self.contacts)
        if looks_again and fresh_count < limit:
            self.take_over(limit - fresh_count)
        if budget is not None:
            unused = EXACT.multiply(self.reserve, fresh_count - granted)
            self.add_to_totals(Totals(reserved=unused))

        # 4. If the contacts are still too few, say why.
        stop, retry_at = None, None
        if not may_get_more:
            stop = StopReason.DRAINED
        elif len(self.contacts) < limit:
            is_short_of_money = fresh_count == granted < limit
            stop, retry_at = self.why_short(freed_at, is_short_of_money=is_short_of_money)
        return self.batch(stop, retry_at, next_cursor)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that the statements of this call share."""
        return {
            **self.documents.parameters(self.scope, self.campaign_id, _CLAIMING_STATUS),
            "now": self.now or self.scope.time_of_clock(),
            "max_attempts": self.max_attempts,
            "fingerprint": self.documents.steps.fingerprint,
            "token": self.token,
            "lease": self.lease,
            "reserve": self.reserve,
        }

    def claim(self, number: int, first_rank: int | None) -> CampaignRow | None:
        """Lock the campaign and claim up to ``number`` contacts that wait, by rank.

        Search from ``first_rank`` on, or from the low-water mark if ``first_rank`` is None. If the
        campaign is not generating, or has other documents than this process last read, claim
        nothing and return the changed campaign row; otherwise return None. Raise
        :class:`NotFound` if the tenant has no such campaign.
        """
        parameters = self.parameters() | {"number": number, "first_rank": first_rank}
        result = self.statements.claim(self.scope, parameters)
        self.now = utc(result.now)
        self.contacts += sorted(result.contacts, key=attrgetter("rank"))
        return result.changed_campaign

    def take_over(self, number: int) -> None:
        """Claim up to ``number`` contacts whose lease has expired."""
        assert self.now is not None, "claimed before"
        expires_at = self.now + self.lease
        parameters = self.parameters() | {"lease_expires_at": expires_at, "number": number}
        contacts = self.statements.take_over(self.scope, parameters)
        for contact in contacts:
            log_takeover(self.scope, self.campaign_id, contact)
        self.contacts += sorted(contacts, key=attrgetter("rank"))

    def add_to_totals(self, delta: Totals) -> None:
        """Add a delta to the totals, in the row (shard) that this call changes."""
        shard = choose_shard(self.scope, _CLAIMING_STATUS, self.documents.config)
        add_to_totals(self.scope, self.campaign_id, delta, shard=shard)

    def why_short(
        self, freed_at: datetime | None, *, is_short_of_money: bool
    ) -> tuple[StopReason, datetime | None]:
        """Return why the call got fewer contacts than it asked for, and when it may get more.

        The time is None if a later claim gets no more either. ``is_short_of_money`` says that the
        budget, and not the number of waiting contacts, limited this call; ``freed_at`` is when the
        lease of an excluded or erased contact ends, which frees its reservation. Contacts that were
        claimed ``max_attempts`` times without an outcome fail here.
        """
        assert self.now is not None, "claimed before"
        connection, statements = self.scope.connection, self.statements
        soon = self.now + PAUSE
        parameters = self.parameters() | {"soon": soon}
        chance = connection.execute(statements.find_next_chance, parameters).one()
        if chance.any_exhausted:
            delta = Totals()
            for contact in statements.fail_exhausted(self.scope, parameters):
                delta.move(contact.status, FAILED)
                delta.reserved = EXACT.subtract(delta.reserved, contact.reserved)
            self.add_to_totals(delta)
            chance = connection.execute(statements.find_next_chance, parameters).one()
        next_expiry, next_try, _ = chance
        chances = (next_expiry, next_try)
        if is_short_of_money and next_try is not None:
            # The contacts that wait cost too much. An expired lease can be taken over, because its
            # reservation stays. The lease of an excluded or erased contact frees its reservation.
            chances = (next_expiry, freed_at)
        moments = [moment for moment in chances if moment is not None]
        if not moments:
            return StopReason.DRAINED if next_try is None else StopReason.BUDGET, None
        # A contact that is due and was not claimed is locked by another transaction right now.
        return StopReason.LEASES_PENDING, min(moments) if min(moments) > self.now else soon

    def batch(
        self, stop: StopReason | None, retry_at: datetime | None, cursor: Cursor
    ) -> ClaimBatch:
        """Return the claims of this call, with the reason why there are no more, if any."""
        assert self.now is not None, "claimed before"
        documents, expires_at = self.documents, self.now + self.lease
        fingerprint = documents.steps.fingerprint
        claims = tuple(
            Claim(
                id_,
                self.campaign_id,
                contact_id,
                self.token,
                expires_at,
                attempts,
                revision,
                fingerprint,
                reserved,
            )
            for id_, contact_id, attempts, revision, _rank, reserved in self.contacts
        )
        return ClaimBatch(
            claims, stop, retry_at, self.now, cursor, documents.steps, documents.config
        )


def log_takeover(scope: Scope, campaign_id: UUID, contact: Any) -> None:
    """Log that a claim takes over a contact. ``contact`` has ids and ``attempts`` of its row."""
    store_log.warning(
        "a claim takes over a contact whose lease has expired",
        extra={
            "tenant_id": str(scope.tenant_id),
            "campaign_id": str(campaign_id),
            "campaign_contact_id": str(contact.id),
            "contact_id": str(contact.contact_id),
            "attempts": contact.attempts,
            "actor": scope.actor,
        },
    )
