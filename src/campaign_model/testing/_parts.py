"""What values and documents are both drawn from: words, JSON, and the members of documents.

The first of several choices is the plainest: it is what a failing example shrinks to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model._values import MONEY_DECIMALS, MONEY_PATTERN
from campaign_model.campaign import MAX_DESCRIPTION
from campaign_model.generation import LANGUAGE_PATTERN, MAX_INSTRUCTIONS
from campaign_model.steps import MAX_DAY_OFFSET, MAX_LABEL, MAX_STEPS, MAX_VARIANTS
from campaign_model.vocabulary import MAX_TONE, Condition, Vocabulary

__all__ = [
    "amounts",
    "channel_names",
    "descriptions",
    "ids",
    "json_values",
    "labels",
    "made",
    "matching",
    "members",
    "names",
    "picks",
    "settings",
    "step",
    "steps",
    "texts",
]

Members = dict[str, Any]
Value = TypeVar("Value")


def made(
    function: Callable[..., Value], *arguments: SearchStrategy[Any], **named: SearchStrategy[Any]
) -> SearchStrategy[Value]:
    """As ``st.builds``, but a failing example shows what was made, not this call of a function."""
    # Deferred: the name of a strategy spells out all that it is made of, and makes Hypothesis warn.
    return st.deferred(lambda: _made(function, st.tuples(*arguments), st.fixed_dictionaries(named)))


@st.composite
def _made(
    draw: st.DrawFn,
    function: Callable[..., Value],
    arguments: SearchStrategy[tuple[Any, ...]],
    named: SearchStrategy[dict[str, Any]],
) -> Value:
    return function(*draw(arguments), **draw(named))


# Each as often as any other, unlike st.integers, of which every third may be the first.
picks = st.deferred(lambda: st.sampled_from(range(997)))


def texts(min_size: int = 0, max_size: int = 8) -> SearchStrategy[str]:
    """Text that every database stores: no NUL, no half of a surrogate pair."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.text(characters, min_size=min_size, max_size=max_size)


def matching(pattern: str) -> SearchStrategy[str]:
    """Text of one of the library's patterns, which are all of ASCII."""
    # Without an alphabet Hypothesis goes through all that UTF-8 can say, for seconds, at first.
    return st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))


def _long(size: int) -> SearchStrategy[str]:
    return st.just(size).map(lambda size: "é" * size)


def names(plain: str, longest: int) -> SearchStrategy[str]:
    """Text that is not blank: ``plain``, anything short, and the longest there may be."""
    return st.one_of(st.just(plain), texts(min_size=1).filter(str.strip), _long(longest))


# The last ones are beyond the numbers that a double counts by one, and still doubles.
_numbers = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**53 + 2, -(2**63), 10**22]),
)
_scalars: SearchStrategy[Any] = st.one_of(st.none(), st.booleans(), _numbers, texts())


def _either(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.one_of(_scalars, st.lists(inner, max_size=3), members(inner))


def members(values: SearchStrategy[Any]) -> SearchStrategy[Members]:
    """JSON objects of a few members."""
    return st.dictionaries(texts(), values, max_size=3)


# Written out to three levels: st.recursive draws half as fast. Deferred for its long name.
_json_values = st.deferred(lambda: _either(_either(_either(_scalars))))


def json_values() -> SearchStrategy[Any]:
    """Any small JSON value that the library keeps, as ``json.loads`` gives it."""
    return _json_values


def channel_names(vocabulary: Vocabulary | None) -> SearchStrategy[str]:
    """Names of the vocabulary's channels; without one, any that a channel may have."""
    if vocabulary is not None:
        # Shortest first: of the standard channels, e-mail is the plainest.
        return st.sampled_from(sorted((one.name for one in vocabulary.channels), key=len))
    return st.sampled_from(["email", "fax", "carrier_pigeon", "a", "z" * 40])


labels = st.one_of(st.just("Intro"), texts(min_size=1), _long(MAX_LABEL))
_variants = st.integers(1, MAX_VARIANTS)
_step_configs = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "tone": st.just("casual"),
            "subject": texts(),
            "words": st.integers(0, 500),
        },
    ),
    members(_json_values),
)
_own_fields = st.one_of(
    st.just({}), st.dictionaries(texts().map(lambda name: f"x_{name}"), _json_values, max_size=2)
)
# What other services wrote beside our fields, and what looks like one of ours.
_unknown_fields = st.one_of(
    st.just({}),
    st.dictionaries(
        st.sampled_from(["order", "delay_days", "ai_model", "x_crm", "Label", "a/b~c", ""]),
        _json_values,
        max_size=2,
    ),
)


def _beside(
    known: SearchStrategy[Members], others: SearchStrategy[Members]
) -> SearchStrategy[Members]:
    return made(lambda known, others: known | others, known, others)


def step(vocabulary: Vocabulary | None) -> SearchStrategy[Members]:
    """A step's members but for its number, key and day, which depend on the steps around it.

    Without a vocabulary as older services stored it: with its channel alone, or with more.
    """
    channel = {"channel": channel_names(vocabulary)}
    usual: dict[str, SearchStrategy[Any]] = {
        "label": labels,
        "enabled": st.sampled_from([True, False]),
        "needs_pdf": st.booleans(),
        "variant_count": _variants,
    }
    free: dict[str, SearchStrategy[Any]] = {
        "condition": st.sampled_from([condition.value for condition in Condition]),
        "config": _step_configs,
    }
    if vocabulary is None:
        number = {"step": st.integers(1, 99)}
        return _beside(
            st.fixed_dictionaries(channel, optional=number | usual | free), _unknown_fields
        )
    return _beside(st.fixed_dictionaries(channel | usual, optional=free), _own_fields)


_KEYS = (None, "s{}", "step-{}", "{:_>40}")
"""How the step at a position may be keyed; no two steps of one sequence come to the same key."""

_rarely = st.sampled_from([False] * 15 + [True])


def steps(
    each: SearchStrategy[Members], min_size: int, max_size: int, *, filled: bool
) -> SearchStrategy[list[Members]]:
    """Members of steps in order, some keyed and some not, some with a day and some without.

    Now and then the keys stand as after a move, and if ``filled``, there are as many as may be.
    """
    drawn = st.tuples(each, st.sampled_from(_KEYS), st.none() | st.integers(0, MAX_DAY_OFFSET))
    # Hypothesis varies most what is drawn first.
    return made(
        _in_order,
        fill=_rarely if filled else st.just(False),
        moved=_rarely,
        rows=st.lists(drawn, min_size=min_size, max_size=max_size),
    )


def _in_order(
    *, fill: bool, moved: bool, rows: list[tuple[Members, str | None, int | None]]
) -> list[Members]:
    if rows and fill:
        rows = copy.deepcopy(rows * MAX_STEPS)[:MAX_STEPS]
    keys = [key and key.format(index + 1) for index, (_, key, _) in enumerate(rows)]
    if moved:
        keys = [key or f"s{index + 1}" for index, key in enumerate(keys)]
        keys.reverse()
    days = iter(sorted(day for _, _, day in rows if day is not None))
    return [
        row
        | ({} if key is None else {"key": key})
        | ({} if day is None else {"day_offset": next(days)})
        for (row, _, day), key in zip(rows, keys, strict=True)
    ]


ids = st.integers(1, 2**128 - 1).map(lambda number: UUID(int=number))
"""Unlike st.uuids(), they shrink: to 00000000-0000-0000-0000-000000000001."""


def _plain_amount(decimals: int) -> SearchStrategy[str]:
    def written(units: int) -> str:
        whole, part = divmod(units, 10**decimals)
        return f"{whole}.{part:0{decimals}}" if decimals else str(whole)

    return st.integers(0, 10 ** (9 + decimals) - 1).map(written)


amounts: SearchStrategy[str] = st.one_of(
    *map(_plain_amount, (0, 2, MONEY_DECIMALS)), matching(MONEY_PATTERN)
)
"""Amounts of money as documents write them: whole, with cents, with all decimals, with any."""

languages = st.one_of(
    st.sampled_from(["en", "pt-BR", "A" * 8 + "-1234abcd" * 3]),
    matching(LANGUAGE_PATTERN),
)


def settings(vocabulary: Vocabulary | None) -> SearchStrategy[Members]:
    """The members of generation settings; without a vocabulary as others stored them."""
    tones = ["casual", "?", "t" * MAX_TONE] if vocabulary is None else vocabulary.tones
    known: dict[str, SearchStrategy[Any]] = {
        "tone": st.sampled_from(tones),
        "language": languages,
        "custom_instructions": texts() | _long(MAX_INSTRUCTIONS),
        "default_variant_count": _variants,
        "budget": amounts,
    }
    return _beside(
        st.fixed_dictionaries({}, optional=known),
        _unknown_fields if vocabulary is None else _own_fields,
    )


descriptions = texts() | _long(MAX_DESCRIPTION)
