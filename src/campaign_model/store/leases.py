"""Leases: what the claims of generation and of export have in common.

A claim holds a contact while the claim's token is in the contact's row. No clock decides that: an
expired lease only allows another claim to replace the token.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from campaign_model.claims import MAX_DURATION, Claim
from campaign_model.store.locking import campaign_parameters
from campaign_model.store.scope import Scope
from campaign_model.store.statements import CampaignRow, HeldContact, Statements
from campaign_model.store.types import checked_id


def check_lease(lease: timedelta) -> None:
    """Raise ``ValueError`` for a lease that is not longer than zero, or too long."""
    if not timedelta(0) < lease <= MAX_DURATION:
        raise ValueError(f"a lease is longer than zero and at most {MAX_DURATION}, not {lease}")


def campaign_of(claims: Iterable[Claim]) -> UUID:
    """Return the campaign of the claims. Raise ``ValueError`` if it is not one and the same."""
    campaign_ids = {claim.campaign_id for claim in claims}
    if len(campaign_ids) != 1:
        raise ValueError("one call takes the claims of one campaign")
    return campaign_ids.pop()


def lock_claimed(
    scope: Scope, statements: Statements, campaign_id: UUID, claims: Iterable[Claim]
) -> tuple[CampaignRow, dict[UUID, HeldContact]]:
    """Lock the campaign shared, then the contacts of the claims by id, and return both.

    A contact that no longer exists is missing in the result. Raise :class:`NotFound` if the
    campaign does not exist.
    """
    parameters = {
        **campaign_parameters(scope, checked_id(campaign_id)),
        "ids": sorted(checked_id(claim.id) for claim in claims),
    }
    return statements.lock_claimed(scope, parameters)
