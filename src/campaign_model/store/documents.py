"""A campaign's documents, known again by a digest that PostgreSQL makes of them.

Whoever says which documents it has read can share a campaign's row and, in the same statement, go
on to its contacts, if the documents are still those. Nothing is trusted that the row does not say:
other documents have another digest, whoever wrote them.
"""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID

import attrs

from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import StepSequence
from campaign_model.store.scope import Scope, Shared

__all__ = ["UNREAD", "Documents", "read", "read_before"]

_MOST = 1024

_read: OrderedDict[UUID, Documents] = OrderedDict()


@attrs.frozen
class Documents:
    """``digest`` is empty where nobody can know them again."""

    steps: StepSequence
    config: GenerationConfig
    digest: str = ""


UNREAD = Documents(StepSequence(()), GenerationConfig())
"""Of a campaign that was not looked at yet: there is none with this digest."""


def read_before(campaign_id: UUID) -> Documents | None:
    """The documents that the campaign had when this process last looked."""
    return _read.get(campaign_id)


def read(scope: Scope, campaign_id: UUID, row: Shared) -> Documents:
    """The documents in the row, which are remembered."""
    documents = Documents(scope.steps(row), scope.config(row), row.digest or UNREAD.digest)
    _read[campaign_id] = documents
    while len(_read) > _MOST:
        _read.popitem(last=False)
    return documents
