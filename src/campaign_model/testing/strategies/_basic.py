"""Strategies of the simplest values: texts, ids, money, moments, JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model._json import JsonObject
from campaign_model.campaign import MAX_NAME
from campaign_model.testing import _parts
from campaign_model.testing._parts import built, json_values, texts

__all__ = [
    "CAMPAIGN_NAMES",
    "COUNTS",
    "FIELDS",
    "SHORT_TEXTS",
    "after",
    "amounts",
    "ids",
    "json_objects",
    "json_values",
    "moments",
    "optional",
    "texts",
    "tuples_of",
]

Value = TypeVar("Value")


def json_objects() -> SearchStrategy[JsonObject]:
    """Draw small frozen objects of :func:`json_values`."""
    return built(JsonObject, _parts.members(json_values()))


def ids() -> SearchStrategy[UUID]:
    """Draw ids. Unlike those of ``st.uuids``, they shrink to a simple one."""
    return _parts.ids


def amounts() -> SearchStrategy[Decimal]:
    """Draw money: 0, whole, with cents, with up to nine decimals, and just below the limit."""
    return _parts.amounts.map(Decimal)


_NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
_YEAR = timedelta(days=365) // timedelta(microseconds=1)


def moments() -> SearchStrategy[datetime]:
    """Draw UTC times with microseconds, within some decades of 2026."""
    return built(lambda since: _NEW_YEAR + since, after(-20 * _YEAR))


def after(least: int = 0) -> SearchStrategy[timedelta]:
    """Draw durations from ``least`` microseconds to 70 years."""
    return st.integers(least, 70 * _YEAR).map(lambda number: timedelta(microseconds=number))


def optional(strategy: SearchStrategy[Value]) -> SearchStrategy[Value | None]:
    """Draw ``None`` or a value."""
    return st.one_of(st.none(), strategy)


def tuples_of(
    strategy: SearchStrategy[Value], min_size: int = 0, max_size: int = 3
) -> SearchStrategy[tuple[Value, ...]]:
    """Draw tuples of different values."""
    return st.lists(strategy, min_size=min_size, max_size=max_size, unique=True).map(tuple)


SHORT_TEXTS = texts(min_size=1)
COUNTS = st.one_of(st.just(0), st.integers(1, 1000))
CAMPAIGN_NAMES = _parts.names("Spring", MAX_NAME)
FIELDS = st.sampled_from(["email_address", "linkedin_url", "phone"])
"""Fields of contacts, for gaps and for what channels require."""
