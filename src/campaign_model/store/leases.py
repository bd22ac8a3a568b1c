"""Leases: what the claims of generation and of export have in common.

A claim holds a contact while the claim's token is in the contact's row. No clock decides that: an
expired lease only allows another claim to replace the token.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from campaign_model._values import checked_id, checked_instance, checked_number
from campaign_model.claims import Claim, Cursor, check_lease
from campaign_model.store.locking import campaign_parameters
from campaign_model.store.scope import Scope
from campaign_model.store.statements import CampaignRow, HeldContact, Statements

MAX_CLAIM = 10_000
"""The most contacts that one claim takes."""


def check_claim(campaign_id: UUID, limit: int, lease: timedelta, cursor: Cursor | None) -> Cursor:
    """Check the arguments of a claim; return the cursor at which its search begins."""
    checked_id(campaign_id, "campaign_id")
    checked_number(limit, 1, MAX_CLAIM, "limit")
    check_lease(lease)
    return Cursor() if cursor is None else checked_instance(cursor, Cursor, "cursor")


def lock_claimed(
    scope: Scope,
    statements: Statements,
    campaign_id: UUID,
    claims: Iterable[Claim],
    *,
    exclusively: bool = False,
) -> tuple[CampaignRow, dict[UUID, HeldContact]]:
    """Lock the campaign, then the contacts of the claims by id, and return both.

    The lock of a generating campaign is shared, unless ``exclusively`` is true. The lock of any
    other campaign is exclusive. A contact that no longer exists is missing in the result. Raise
    :class:`NotFound` if the campaign does not exist.
    """
    parameters = {
        **campaign_parameters(scope, campaign_id),
        "ids": sorted(claim.id for claim in claims),
    }
    return statements.lock_claimed(scope, parameters, exclusively=exclusively)
