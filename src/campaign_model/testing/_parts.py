"""What values and documents are both drawn from: words, JSON, and the members of documents.

The first of several choices is the plainest: it is what a failing example shrinks to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model._values import MONEY_DECIMALS, MONEY_LIMIT, MONEY_PATTERN
from campaign_model.campaign import MAX_DESCRIPTION
from campaign_model.generation_config import LANGUAGE_PATTERN, MAX_INSTRUCTIONS
from campaign_model.steps import MAX_DAY_OFFSET, MAX_LABEL, MAX_STEPS, MAX_VARIANTS
from campaign_model.vocabulary import MAX_TONE, Condition, Vocabulary

__all__ = [
    "amounts",
    "by",
    "channel_names",
    "descriptions",
    "ids",
    "json_values",
    "labels",
    "made",
    "matching",
    "members",
    "names",
    "objects",
    "picks",
    "settings",
    "step",
    "steps",
    "texts",
]

Members = dict[str, Any]
Value = TypeVar("Value")


@st.composite
def by(draw: st.DrawFn, recipe: Callable[[st.DrawFn], Value]) -> Value:
    """What ``recipe`` makes of what it draws.

    Strategies that it draws from stand within it: a strategy's name spells out its arguments, and
    Hypothesis warns of long names. Quicker to be had than a composite of one's own, which
    Hypothesis reads the source of.
    """
    return recipe(draw)


def made(
    make: Callable[..., Value], *arguments: SearchStrategy[Any], **named: SearchStrategy[Any]
) -> SearchStrategy[Value]:
    """As ``st.builds``, but a failing example shows what was made, not this call of a function."""
    positional, keyed = st.tuples(*arguments), st.fixed_dictionaries(named)

    def recipe(draw: st.DrawFn) -> Value:
        return make(*draw(positional), **draw(keyed))

    return by(recipe)


# Each as often as any other, unlike st.integers, of which every third may be the first.
picks = made(int, st.sampled_from(range(997)))

_either_way = st.booleans()


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
    """Text that is not blank: ``plain``, one character, a few, and the longest there may be."""
    short = [texts(1, size).filter(str.strip) for size in (1, 8)]
    return st.one_of(st.just(plain), *short, _long(longest))


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


# Written out to three levels: st.recursive draws half as fast.
_json_values = made(lambda value: value, _either(_either(_either(_scalars))))


def json_values() -> SearchStrategy[Any]:
    """Any small JSON value that the library keeps, as ``json.loads`` gives it."""
    return _json_values


def objects(
    required: dict[str, SearchStrategy[Any]], optional: dict[str, SearchStrategy[Any]]
) -> SearchStrategy[Members]:
    """JSON objects of these members, of the optional ones any."""
    fixed = st.fixed_dictionaries(required)

    def recipe(draw: st.DrawFn) -> Members:
        # Each is there or not by itself: the optional ones of fixed_dictionaries shrink less far.
        given = draw(fixed)
        return given | {name: draw(value) for name, value in optional.items() if draw(_either_way)}

    return by(recipe)


def channel_names(vocabulary: Vocabulary | None) -> list[str]:
    """Names of the vocabulary's channels, the plainest first; without one, of any that may be."""
    if vocabulary is None:
        return ["email", "fax", "carrier_pigeon", "a", "z" * 40]
    # Of the standard channels, e-mail.
    return sorted((one.name for one in vocabulary.channels), key=len)


labels = st.one_of(st.just("Intro"), texts(1, 1), texts(1, 8), _long(MAX_LABEL))
_variants = st.integers(1, MAX_VARIANTS)
_step_configs = st.one_of(
    objects({}, {"tone": st.just("casual"), "subject": texts(), "words": st.integers(0, 500)}),
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


def _plain_step(vocabulary: Vocabulary | None) -> Members:
    channel = {"channel": channel_names(vocabulary)[0]}
    if vocabulary is None:
        return channel
    return channel | {"label": "Intro", "enabled": True, "needs_pdf": False, "variant_count": 1}


def step(vocabulary: Vocabulary | None) -> SearchStrategy[Members]:
    """A step's members but for its number, key and day, which depend on the steps around it.

    Without a vocabulary as older services stored it: with its channel alone, or with more.
    """
    plain = _plain_step(vocabulary)
    channel = {"channel": st.sampled_from(channel_names(vocabulary))}
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
        rich = _beside(objects(channel, number | usual | free), _unknown_fields)
    else:
        rich = _beside(objects(channel | usual, free), _own_fields)
    # By one choice: Hypothesis takes steps out of a sequence only if they took a few.
    return st.one_of(made(plain.copy), rich, rich)


_KEYS = (None, "s{}", "step-{}", "{:_>40}")
"""How the step at a position may be keyed; no two steps of one sequence come to the same key."""

_days = st.one_of(st.none(), st.integers(0, MAX_DAY_OFFSET), st.sampled_from([0, MAX_DAY_OFFSET]))
_rarely = st.sampled_from([False] * 9 + [True])


_Row = tuple[Members, str | None, int | None]


def steps(
    vocabulary: Vocabulary | None, min_size: int, max_size: int, *, filled: bool
) -> SearchStrategy[list[Members]]:
    """Members of steps in order, some keyed and some not, some with a day and some without.

    Now and then the keys stand as after a move, and if ``filled``, there are as many as may be.
    """

    def row(each: SearchStrategy[Members]) -> SearchStrategy[_Row]:
        return st.tuples(each, st.sampled_from(_KEYS), _days)

    rows = st.lists(row(step(vocabulary)), min_size=min_size, max_size=max_size)
    plain = row(made(_plain_step(vocabulary).copy))

    def recipe(draw: st.DrawFn) -> list[Members]:
        # Hypothesis varies most what is drawn first.
        fill, moved = filled and draw(_rarely), draw(_rarely)
        drawn = draw(rows)
        if fill:
            # Each is drawn: by fewer choices they would be simpler than two steps.
            drawn += [draw(plain) for _ in range(MAX_STEPS - len(drawn))]
        return _in_order(drawn, moved=moved)

    return by(recipe)


def _in_order(rows: list[_Row], *, moved: bool) -> list[Members]:
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

    return st.integers(0, int(MONEY_LIMIT) * 10**decimals - 1).map(written)


_ALL_NINES = "9" * MONEY_DECIMALS
amounts: SearchStrategy[str] = st.one_of(
    *map(_plain_amount, (0, 2, MONEY_DECIMALS)),
    matching(MONEY_PATTERN),
    st.sampled_from(["0", f"0.{1:0{MONEY_DECIMALS}}", f"{MONEY_LIMIT - 1}.{_ALL_NINES}"]),
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
        objects({}, known),
        _unknown_fields if vocabulary is None else _own_fields,
    )


descriptions = texts() | _long(MAX_DESCRIPTION)
