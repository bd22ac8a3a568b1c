"""Checks that several value types share: money, text, points in time. They coerce nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext
from typing import Any

from campaign_model._json import text_fault
from campaign_model.errors import short_repr

MONEY_DECIMALS = 9
"""The most decimals of an amount; more are refused, never rounded."""

MONEY_LIMIT = Decimal(10) ** 9
"""Every amount is below this limit, so that a sum of nano-units fits a 64-bit integer."""

MONEY_PATTERN = r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?"
"""An amount as documents write it, within the limits above; the whole text must match."""

EXACT = Context(prec=60)
"""A decimal context with enough digits for every sum of amounts."""

_NANO = Decimal(10) ** -MONEY_DECIMALS


def money(value: Any) -> Decimal:
    """Return an amount of money: exact, not negative, with at most nine decimals.

    Raises ``TypeError`` for anything but ``Decimal`` or ``int`` (a float is not exact), and
    ``ValueError`` for NaN, infinity, negative, too large or too precise amounts.
    """
    if type(value) is int:
        if not 0 <= value < int(MONEY_LIMIT):  # To convert a very large integer takes long.
            wrong = short_repr(value)
            raise ValueError(f"money is at least 0 and less than {MONEY_LIMIT}, not {wrong}")
        value = Decimal(value)
    if type(value) is Decimal and not value:
        return value.copy_abs()  # Fast path: without a budget, every reservation is zero.
    if not isinstance(value, Decimal):
        raise TypeError(f"money is a Decimal, not a {type(value).__name__}: {short_repr(value)}")
    if not value.is_finite() or value < 0 or value >= MONEY_LIMIT:
        raise ValueError(f"money is at least 0 and less than {MONEY_LIMIT}, not {value}")
    if EXACT.quantize(value, _NANO) != value:
        raise ValueError(f"money has at most {MONEY_DECIMALS} decimals: {value}")
    return value.copy_abs()  # Minus zero becomes zero.


def is_money(value: Any) -> bool:
    """Return True if :func:`money` accepts the value."""
    try:
        money(value)
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def exactly() -> Iterator[None]:
    """Calculate with money in the decimal context :data:`EXACT`, so that no sum is rounded.

    Python's arithmetic uses the caller's context otherwise, which may have few digits. Use it as
    ``with exactly():`` around a block, or as ``@exactly()`` above a function.
    """
    with localcontext(EXACT):
        yield


def money_text(value: Decimal) -> str:
    """Return an amount as documents write it: plain digits that match :data:`MONEY_PATTERN`."""
    whole, point, decimals = f"{value:f}".partition(".")
    return whole + point + decimals[:MONEY_DECIMALS]  # All decimals after the ninth are zeros.


def text(value: Any) -> str:
    """Return a text if it is not empty and every database can store it, or raise ``ValueError``."""
    if type(value) is not str or not value or text_fault(value) is not None:
        raise ValueError(f"not text that a database can store: {short_repr(value)}")
    return value


def optional_text(value: Any) -> str | None:
    """Return :func:`text` of the value; ``None`` stays ``None``."""
    return None if value is None else text(value)


def gaps(value: Any) -> tuple[str, ...]:
    """Return the names of missing fields, in order. Raises ``TypeError`` for a single string."""
    if isinstance(value, str):
        raise TypeError(f"gaps must be a list of names, not the string {short_repr(value)}")
    return tuple(text(name) for name in value)


def utc(value: Any) -> datetime:
    """Return the datetime in UTC. Raises ``ValueError`` for one without a time zone."""
    if not isinstance(value, datetime):
        raise TypeError(f"a point in time is a datetime, not {short_repr(value)}")
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise ValueError(f"a datetime needs a time zone: {value!r}")
    return value.astimezone(UTC)
