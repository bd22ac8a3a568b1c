"""What a worker loop does with contacts: it has messages generated, or pushes them.

The loop (``run.py``) is the same for both jobs. It calls the methods of its job within its own
transactions, which it may repeat:

* ``claim`` claims up to ``limit`` contacts, and ``renew`` extends the leases of claims.
* ``record`` records outcomes, all or none. It raises :class:`LeaseLost` if one of them does not
  count, unless the claims ``may_be_lost``: then generation books the cost of a lost claim alone,
  and an exporter writes nothing and answers ``SKIPPED``.
* ``explain`` returns the outcome of a task whose function raised an error that is no database
  fault. The loop logs the error if the outcome is :class:`Failed`.
* ``complete`` ends the campaign's generation if nothing is left. It returns True if it did so.

``function_name`` is the host's function for a contact, for the log.
"""

from __future__ import annotations

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
    Generated,
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
    PUSH_FAILED,
    SAVE_FAILED,
    TASK_TIMED_OUT,
    describe,
    flatten_groups,
)

PUSHED = Generated(Decimal(0))
"""The outcome of a push that has returned, in the words of the worker loop."""


class TaskTimedOut(Exception):
    """A coroutine was cancelled because its time was over."""


@attrs.frozen
class GenerationJob:
    """The job of ``run_worker`` and ``run_worker_async``: claim contacts that wait for messages."""

    campaign_id: UUID
    lease: timedelta
    reserve: Decimal | None
    max_attempts: int
    function_name: ClassVar[str] = "generate"

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


@attrs.frozen
class ExportJob:
    """The job of an exporter: claim generated contacts, and mark them as exported."""

    campaign_id: UUID
    lease: timedelta
    function_name: ClassVar[str] = "push"

    def claim(self, store: CampaignStore, limit: int, cursor: Cursor) -> ClaimBatch:
        return store.export.claim(self.campaign_id, limit, self.lease, cursor=cursor)

    def renew(self, store: CampaignStore, claims: Iterable[Claim]) -> Renewal:
        return store.export.renew(claims, self.lease)

    def record(
        self, store: CampaignStore, outcomes: Mapping[Claim, Outcome], *, may_be_lost: bool = False
    ) -> dict[Claim, Recorded]:
        if may_be_lost:  # The contact was pushed, but cannot be marked.
            return dict.fromkeys(outcomes, Recorded.SKIPPED)
        failed = [claim for claim, outcome in outcomes.items() if outcome is not PUSHED]
        pushed = [claim for claim, outcome in outcomes.items() if outcome is PUSHED]
        answers = store.export.record(pushed, release=failed)
        # The worker loop counts a contact as given back also if its claim was lost.
        return answers | dict.fromkeys(failed, Recorded.REQUEUED)

    def explain(self, error: Exception, task: Any) -> Outcome:  # noqa: ARG002
        if isinstance(error, TaskTimedOut):
            return Failed(TASK_TIMED_OUT, str(error), cost=Decimal(0))
        return Failed(PUSH_FAILED, describe(error), cost=Decimal(0))

    def complete(self, store: CampaignStore) -> bool:  # noqa: ARG002
        return False


Job = GenerationJob | ExportJob
"""What a worker loop does with contacts. The module's docstring describes the methods."""
