"""A clock that a test sets, for tests of leases and pauses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

__all__ = ["FrozenClock"]


class FrozenClock:
    """A clock that stands still until a test moves it. ``now`` is its time.

    Pass the clock as ``clock=`` to :class:`~campaign_model.store.CampaignStore` or ``transact``.
    """

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now: datetime = now

    def __call__(self, _connection: sa.Connection) -> datetime:
        return self.now

    def forward(self, by: timedelta) -> None:
        """Move the clock forward; a negative ``by`` moves it back."""
        self.now += by
