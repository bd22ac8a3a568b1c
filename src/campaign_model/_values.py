"""Checks that several value types share: money, points in time."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

__all__ = ["MONEY_DECIMALS", "MONEY_LIMIT", "money", "optional_money", "optional_utc", "utc"]

MONEY_DECIMALS = 9
"""Money keeps this many decimals; more is refused, never rounded."""

MONEY_LIMIT = Decimal(10) ** 9
"""Amounts are smaller than this, so that a sum of nano-units fits a 64-bit integer."""


def money(value: Any) -> Decimal:
    """``value`` if it is an amount of money: exact, not negative, at most nine decimals.

    Raises ``TypeError`` for anything but ``Decimal`` or ``int`` (a float was never exact), and
    ``ValueError`` for NaN, infinity, negative, too large or too precise amounts.
    """
    if type(value) is int:
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise TypeError(f"money is a Decimal, not a {type(value).__name__}: {value!r}")
    if not value.is_finite() or value < 0 or value >= MONEY_LIMIT:
        raise ValueError(f"money is at least 0 and less than {MONEY_LIMIT}, not {value}")
    if _decimals(value) > MONEY_DECIMALS:
        raise ValueError(f"money has at most {MONEY_DECIMALS} decimals: {value}")
    return value


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def optional_money(value: Any) -> Decimal | None:
    """Like :func:`money`; ``None`` stays ``None``."""
    return None if value is None else money(value)




def utc(value: Any) -> datetime:
    """``value`` in UTC. Raises ``ValueError`` for a datetime without a time zone."""
    if value.tzinfo is None:
        raise ValueError(f"a datetime needs a time zone: {value!r}")
    moment: datetime = value.astimezone(UTC)
    return moment


def optional_utc(value: Any) -> datetime | None:
    """Like :func:`utc`; ``None`` stays ``None``."""
    return None if value is None else utc(value)
