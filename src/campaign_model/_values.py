"""Checks that several value types share: money, text, points in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext
from typing import Any

from campaign_model._json import fault_in

__all__ = [
    "EXACT",
    "MONEY_DECIMALS",
    "MONEY_LIMIT",
    "exactly",
    "gaps",
    "money",
    "optional_money",
    "optional_text",
    "optional_utc",
    "text",
    "utc",
]

MONEY_DECIMALS = 9
"""Money keeps this many decimals; more is refused, never rounded."""

MONEY_LIMIT = Decimal(10) ** 9
"""Amounts are smaller than this, so that a sum of nano-units fits a 64-bit integer."""

MONEY_PATTERN = r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?"
"""An amount as documents write it, within the limits above; the whole text has to match."""


def money(value: Any) -> Decimal:
    """``value`` if it is an amount of money: exact, not negative, at most nine decimals.

    Raises ``TypeError`` for anything but ``Decimal`` or ``int`` (a float was never exact), and
    ``ValueError`` for NaN, infinity, negative, too large or too precise amounts.
    """
    if type(value) is int:
        value = Decimal(value)
    if type(value) is Decimal and not value:
        return value.copy_abs()  # Most are: without a budget, no claim reserves anything.
    if not isinstance(value, Decimal):
        raise TypeError(f"money is a Decimal, not a {type(value).__name__}: {value!r}")
    if not value.is_finite() or value < 0 or value >= MONEY_LIMIT:
        raise ValueError(f"money is at least 0 and less than {MONEY_LIMIT}, not {value}")
    if _is_too_fine(value):
        raise ValueError(f"money has at most {MONEY_DECIMALS} decimals: {value}")
    return value.copy_abs()  # There is no minus zero in money.


EXACT = Context(prec=60)
"""Digits enough for every sum of amounts, whatever decimal context the caller has set."""


@contextmanager
def exactly() -> Iterator[None]:
    """Do arithmetic with money in :data:`EXACT`; serves as a decorator too."""
    with localcontext(EXACT):
        yield


def _is_too_fine(value: Decimal) -> bool:
    # By the digits: arithmetic would first round them to the precision of the caller's context.
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), "finite"
    beyond = -exponent - MONEY_DECIMALS
    return beyond > 0 and any(digits[-beyond:])


def money_text(value: Decimal) -> str:
    """An amount of :func:`money` as documents write it: plain digits, as :data:`MONEY_PATTERN`."""
    whole, point, decimals = f"{value:f}".partition(".")
    return whole + point + decimals[:MONEY_DECIMALS]  # Whatever follows is zeros.


def optional_money(value: Any) -> Decimal | None:
    """Like :func:`money`; ``None`` stays ``None``."""
    return None if value is None else money(value)


def text(value: Any) -> str:
    """``value`` if it is text, not empty, that every database can store. Raises ``ValueError``."""
    if type(value) is not str or not value or fault_in(value) is not None:
        raise ValueError(f"not text that a database can store: {value!r}")
    return value


def optional_text(value: Any) -> str | None:
    """Like :func:`text`; ``None`` stays ``None``."""
    return None if value is None else text(value)


def gaps(value: Any) -> tuple[str, ...]:
    """``value`` as names of missing fields, in order. Raises ``TypeError`` for a bare string."""
    if isinstance(value, str):
        raise TypeError(f"gaps are several names, not the string {value!r}")
    return tuple(text(one) for one in value)


def utc(value: Any) -> datetime:
    """``value`` in UTC. Raises ``ValueError`` for a datetime without a time zone."""
    moment: datetime = value
    if moment.tzinfo is UTC:
        return moment
    if moment.utcoffset() is None:
        raise ValueError(f"a datetime needs a time zone: {value!r}")
    return moment.astimezone(UTC)


def optional_utc(value: Any) -> datetime | None:
    """Like :func:`utc`; ``None`` stays ``None``."""
    return None if value is None else utc(value)
