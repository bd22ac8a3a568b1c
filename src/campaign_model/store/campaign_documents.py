"""The documents of campaigns that this process works on, as it last read them.

A claim or a record names the documents that it goes by, and its statement changes nothing if the
campaign row says anything else, whoever wrote it (:mod:`campaign_model.store.statements`). So a
worker need not read the documents before each claim, and a stale entry here does no harm.
"""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID

import attrs

from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import StepSequence
from campaign_model.store.scope import Scope
from campaign_model.store.statements import CampaignRow

__all__ = ["CampaignDocuments", "last_read_documents", "read_documents"]

_MOST_CAMPAIGNS = 1024

_last_read: OrderedDict[UUID, CampaignDocuments] = OrderedDict()


@attrs.frozen
class CampaignDocuments:
    """A campaign's documents: the row's text, and the values read from it."""

    template_config: str
    generation_config: str
    steps: StepSequence
    config: GenerationConfig


def last_read_documents(campaign_id: UUID) -> CampaignDocuments | None:
    """Return what this process last read of the campaign, or None."""
    return _last_read.get(campaign_id)


def read_documents(scope: Scope, campaign_id: UUID, row: CampaignRow) -> CampaignDocuments:
    """Read the documents in the row, and remember them."""
    documents = CampaignDocuments(
        row.template_config, row.generation_config, scope.steps(row), scope.config(row)
    )
    _last_read[campaign_id] = documents
    while len(_last_read) > _MOST_CAMPAIGNS:
        _last_read.popitem(last=False)
    return documents
