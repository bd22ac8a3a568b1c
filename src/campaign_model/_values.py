"""Checks of values: ids, words, numbers, money, text, points in time. They coerce nothing.

A value that a user can have sent raises :class:`InvalidArgument` with the name of the ``argument``;
a value of a type that only a mistake in the program can bring about raises ``TypeError``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from campaign_model._json import text_fault
from campaign_model.errors import InvalidArgument, join_words, short_repr

Word = TypeVar("Word", bound=StrEnum)

MONEY_DECIMALS = 9
"""The most decimals of an amount; more are refused, never rounded."""

MONEY_LIMIT = Decimal(10) ** 9
"""Every amount is below this limit, so that a sum of nano-units fits a 64-bit integer."""

MONEY_PATTERN = r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?"
"""An amount as documents write it, within the limits above; the whole text must match."""

EXACT = Context(prec=60)
"""A decimal context with enough digits for every sum of amounts."""

_NANO = Decimal(10) ** -MONEY_DECIMALS


def checked_id(value: Any, argument: str = "id") -> UUID:
    """Return an id.

    Raises :class:`InvalidArgument` for text that is no UUID, and ``TypeError`` for anything else
    that is no ``uuid.UUID``, also for the text of a UUID: the program forgot to convert it.
    """
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        try:
            UUID(value)
        except ValueError:
            message = f"{argument} is a UUID, not {short_repr(value)}"
            raise InvalidArgument(argument, message) from None
    raise TypeError(f"{argument} is a uuid.UUID, not {short_repr(value)}")


def checked_instance(value: Any, cls: type, argument: str) -> Any:
    """Return an instance of ``cls``. Raises ``TypeError`` for anything else."""
    if not isinstance(value, cls):
        raise TypeError(f"{argument} is a {cls.__name__}, not {short_repr(value)}")
    return value


def is_id(_instance: object, attribute: Any, value: Any) -> None:
    """Check a field of a value type with :func:`checked_id`."""
    if not isinstance(value, UUID):
        checked_id(value, attribute.name)


def is_instance_of(cls: type) -> Callable[[Any, Any, Any], None]:
    """Return a validator that checks a field of a value type with :func:`checked_instance`."""

    def validate(_instance: object, attribute: Any, value: Any) -> None:
        checked_instance(value, cls, attribute.name)

    return validate


def checked_word(words: type[Word], value: Any, argument: str) -> Word:
    """Return the member of an enumeration. Raises :class:`InvalidArgument` for another word."""
    if type(value) is words:
        return value  # Fast path: the constructor of an enumeration takes a quarter microsecond.
    try:
        # The error of an enumeration shows the whole value, which may be very large.
        return words(value if isinstance(value, str) else short_repr(value))
    except ValueError:
        allowed = tuple(word.value for word in words)
        message = f"{argument} is one of {join_words(allowed)}, not {short_repr(value)}"
        raise InvalidArgument(argument, message, allowed) from None


def checked_number(value: Any, least: int, most: int, argument: str) -> int:
    """Return a whole number from ``least`` to ``most``. Raises :class:`InvalidArgument`."""
    if type(value) is not int or not least <= value <= most:
        message = f"{argument} is a whole number from {least} to {most}, not {short_repr(value)}"
        raise InvalidArgument(argument, message)
    return value


def money(value: Decimal | int, argument: str = "cost") -> Decimal:
    """Return an amount of money: exact, not negative, with at most nine decimals.

    Raises ``TypeError`` for anything but ``Decimal`` or ``int`` (a float is not exact), and
    :class:`InvalidArgument` for NaN, infinity, negative, too large or too precise amounts.
    """
    amount = value
    if type(value) is int:
        # A very large integer takes long to convert. So a number out of range is replaced by -1 or
        # by the limit, which are refused below like the number itself.
        amount = Decimal(max(-1, min(value, int(MONEY_LIMIT))))
    if type(amount) is Decimal and not amount:
        return amount.copy_abs()  # Fast path: without a budget, every reservation is zero.
    if not isinstance(amount, Decimal):
        raise TypeError(
            f"money is a Decimal or an int, not a {type(value).__name__}: {short_repr(value)}"
        )
    if not amount.is_finite() or amount < 0 or amount >= MONEY_LIMIT:
        rule = f"is at least 0 and less than {MONEY_LIMIT}"
    elif EXACT.quantize(amount, _NANO) != amount:
        rule = f"has at most {MONEY_DECIMALS} decimals"
    else:
        return amount.copy_abs()  # Minus zero becomes zero.
    raise InvalidArgument(argument, f"{argument} is money, which {rule}, not {short_repr(value)}")


def is_money(value: Any) -> bool:
    """Return True if :func:`money` accepts the value."""
    try:
        money(value)
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def exact_money() -> Iterator[None]:
    """Calculate with money in the decimal context :data:`EXACT`, so that no sum is rounded.

    Without it, Python's arithmetic uses the caller's context, which may have few digits. Use it as
    ``with exact_money():`` around a block, or as ``@exact_money()`` above a function.
    """
    with localcontext(EXACT):
        yield


def money_text(value: Decimal) -> str:
    """Return an amount as documents write it: plain digits that match :data:`MONEY_PATTERN`."""
    whole, point, decimals = f"{value:f}".partition(".")
    return whole + point + decimals[:MONEY_DECIMALS]  # All decimals after the ninth are zeros.


def amount_text(value: Decimal) -> str:
    """Return an amount as people write it: the shortest plain text, such as ``0.00432``."""
    digits = f"{value:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


_ZERO = Decimal(0)


def plain_amount(value: Decimal) -> Decimal:
    """Return an amount that prints as people write it, such as ``0.00432`` for ``0.004320000``.

    Engines and sums give an amount different numbers of zeros at its end.
    """
    return Decimal(amount_text(value)) if value else _ZERO


def text(value: Any, argument: str, longest: int | None = None) -> str:
    """Return a text if it is not empty, not too long, and every database can store it.

    Raises :class:`InvalidArgument` for anything else.
    """
    if (
        type(value) is not str
        or not value
        or (longest is not None and len(value) > longest)
        or text_fault(value) is not None
    ):
        limit = "" if longest is None else f" of at most {longest} characters"
        message = (
            f"{argument} is text that a database can store{limit}, and not empty; "
            f"it cannot be {short_repr(value)}"
        )
        raise InvalidArgument(argument, message)
    return value


def optional_text(value: Any, argument: str, longest: int | None = None) -> str | None:
    """Return :func:`text` of the value; ``None`` stays ``None``."""
    return None if value is None else text(value, argument, longest)


MAX_GAPS = 1000
"""The most fields that a contact may lack."""

MAX_GAP_NAME = 200
"""The most characters in the name of a field that a contact lacks."""


def gaps(value: Iterable[str]) -> tuple[str, ...]:
    """Return the names of missing fields, in order. Raises ``TypeError`` for a single string.

    Raises :class:`InvalidArgument` for more than ``MAX_GAPS`` names, an empty and a long name.
    """
    if isinstance(value, str):
        raise TypeError(f"gaps must be a list of names, not the string {short_repr(value)}")
    names = tuple(islice(value, MAX_GAPS + 1))
    if len(names) > MAX_GAPS:
        raise InvalidArgument("gaps", f"gaps are at most {MAX_GAPS} names")
    return tuple(text(name, "gaps", MAX_GAP_NAME) for name in names)


def utc(value: datetime, argument: str = "datetime") -> datetime:
    """Return the datetime in UTC.

    Raises :class:`InvalidArgument` for one without a time zone or outside the years of Python.
    """
    if type(value) is datetime and value.tzinfo is UTC:
        return value  # Fast path: what the database returns.
    moment: datetime = checked_instance(value, datetime, argument)
    if moment.utcoffset() is None:
        message = f"{argument} needs a time zone: {short_repr(value)} has none"
        raise InvalidArgument(argument, message)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        message = f"{argument} is a time in the years 1 to 9999, not {short_repr(value)}"
        raise InvalidArgument(argument, message) from None
