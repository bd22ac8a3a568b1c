"""A clock that a test sets, for everything that measures leases and pauses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

__all__ = ["FrozenClock"]


class FrozenClock:
    """Stands still until it is told to go on, so that leases run out at will.

    Pass it as ``clock=`` to :class:`~campaign_model.store.CampaignStore` or ``transact``. ``now``
    is what time it is, in UTC; a clock that was wrong and is put right is a negative ``forward``.
    """

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self, _connection: sa.Connection) -> datetime:
        return self.now

    def forward(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by
