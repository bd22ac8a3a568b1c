"""Leases: what the claims of generation and of export have in common.

A claim holds a contact while the claim's token is in the contact's row. No clock decides that: an
expired lease only allows another claim to replace the token.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from campaign_model.claims import Claim
from campaign_model.store.locking import campaign_parameters
from campaign_model.store.scope import Scope
from campaign_model.store.statements import CampaignRow, HeldContact, Statements


def lock_claimed(
    scope: Scope, statements: Statements, campaign_id: UUID, claims: Iterable[Claim]
) -> tuple[CampaignRow, dict[UUID, HeldContact]]:
    """Lock the campaign, then the contacts of the claims by id, and return both.

    The lock is shared if the campaign is generating, and exclusive otherwise.

    A contact that no longer exists is missing in the result. Raise :class:`NotFound` if the
    campaign does not exist.
    """
    parameters = {
        **campaign_parameters(scope, campaign_id),
        "ids": sorted(claim.id for claim in claims),
    }
    return statements.lock_claimed(scope, parameters)
