"""What a worker loop does with contacts: :class:`GenerationJob` lets their messages be generated.

:class:`campaign_model.worker.export.ExportJob` is the other job. The loop (``run.py``) is the same
for both. It calls the methods of its job within its own transactions, which it may repeat.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import attrs

from campaign_model.claims import (
    Claim,
    ClaimBatch,
    Cursor,
    Failed,
    Outcome,
    Recorded,
    Renewal,
    Unfinished,
)
from campaign_model.errors import LeaseLost, TransitionNotAllowed
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore
from campaign_model.store.database_errors import list_causes
from campaign_model.worker.host_errors import (
    GENERATE_FAILED,
    SAVE_FAILED,
    TASK_TIMED_OUT,
    describe,
    flatten_groups,
)


class TaskTimedOut(Exception):
    """A coroutine was cancelled because its time was over."""


@attrs.frozen
class Job(ABC):
    """The transactions of a worker loop with the contacts of one campaign.

    ``function_name`` is ``generate`` or ``push``, the host's function for a contact, for the log.
    """

    campaign_id: UUID
    lease: timedelta
    function_name: ClassVar[str]

    @abstractmethod
    def claim(self, store: CampaignStore, limit: int, cursor: Cursor) -> ClaimBatch:
        """Claim up to ``limit`` contacts."""

    @abstractmethod
    def renew(self, store: CampaignStore, claims: Iterable[Claim]) -> Renewal:
        """Extend the leases of claims."""

    @abstractmethod
    def record(
        self, store: CampaignStore, outcomes: Mapping[Claim, Outcome], *, may_be_lost: bool = False
    ) -> dict[Claim, Recorded]:
        """Record outcomes, all or none.

        Raise :class:`LeaseLost` if one of them does not count, unless the claims ``may_be_lost``.
        """

    @abstractmethod
    def explain(self, error: Exception, task: Any) -> Outcome:
        """Return the outcome of a task whose function raised ``error``, which is no database fault.

        The loop logs the error if the outcome is :class:`Failed`.
        """

    @abstractmethod
    def complete(self, store: CampaignStore) -> bool:
        """End the campaign's generation if nothing is left. Return True if this call ended it."""


@attrs.frozen
class GenerationJob(Job):
    """The job of ``run_worker`` and ``run_worker_async``: claim contacts that wait for messages."""

    reserve: Decimal | None
    max_attempts: int
    function_name = "generate"

    def claim(self, store: CampaignStore, limit: int, cursor: Cursor) -> ClaimBatch:
        return store.generation.claim(
            self.campaign_id,
            limit,
            self.lease,
            reserve=self.reserve,
            cursor=cursor,
            max_attempts=self.max_attempts,
        )

    def renew(self, store: CampaignStore, claims: Iterable[Claim]) -> Renewal:
        return store.generation.renew(claims, self.lease)

    def record(
        self, store: CampaignStore, outcomes: Mapping[Claim, Outcome], *, may_be_lost: bool = False
    ) -> dict[Claim, Recorded]:
        # Of a lost claim, book the cost alone.
        return store.generation.record(outcomes, on_lost="book" if may_be_lost else "raise")

    def explain(self, error: Exception, task: Any) -> Outcome:
        errors = [cause for leaf in flatten_groups(error) for cause in list_causes(leaf)]
        if any(isinstance(cause, LeaseLost) for cause in errors):
            return Unfinished(cost=task._sum_unbooked_costs(errors))  # noqa: SLF001
        if any(failure in errors for failure, _ in task._failed_checkpoints):  # noqa: SLF001
            return Failed(SAVE_FAILED, describe(error), task._sum_unbooked_costs(errors))  # noqa: SLF001
        if isinstance(error, TaskTimedOut):
            return Failed(TASK_TIMED_OUT, str(error), cost=None)
        return Failed(GENERATE_FAILED, describe(error), cost=None)

    def complete(self, store: CampaignStore) -> bool:
        try:
            store.campaigns.apply(self.campaign_id, Action.COMPLETE_GENERATION)
        except TransitionNotAllowed:  # It is over, or other workers still have contacts.
            return False
        return True
