"""Strategies that values and documents share: texts, JSON values and the members of documents.

The members of a JSON object are its names and values. Documents are drawn as Python objects, and
values are built from the same members. The first of several alternatives is the simplest one,
because failing examples shrink to it.

A function with the argument ``vocabulary`` draws the submitted form with these words, or the stored
form if ``vocabulary`` is ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model._values import MONEY_DECIMALS, MONEY_LIMIT, MONEY_PATTERN
from campaign_model.campaign import MAX_DESCRIPTION
from campaign_model.generation_config import LANGUAGE_PATTERN, MAX_INSTRUCTIONS, MAX_TONE_TEXT
from campaign_model.steps import MAX_DAY_OFFSET, MAX_LABEL, MAX_STEPS, MAX_VARIANTS
from campaign_model.vocabulary import MAX_TONE, Condition, Vocabulary

Members = dict[str, Any]
Value = TypeVar("Value")


@st.composite
def composed(draw: st.DrawFn, recipe: Callable[[st.DrawFn], Value]) -> Value:
    """Draw the result of ``recipe(draw)``.

    A recipe must take other strategies from its closure and not as arguments, because the name of a
    strategy contains its arguments, and Hypothesis warns about long names. This is the only
    composite for all recipes, because Hypothesis parses the source of every composite at start.
    """
    return recipe(draw)


def built(
    make: Callable[..., Value], *arguments: SearchStrategy[Any], **named: SearchStrategy[Any]
) -> SearchStrategy[Value]:
    """Draw like ``st.builds``, but let failing examples show the value and not the call."""
    positional, keyword = st.tuples(*arguments), st.fixed_dictionaries(named)

    def recipe(draw: st.DrawFn) -> Value:
        return make(*draw(positional), **draw(keyword))

    return composed(recipe)


picks = built(int, st.sampled_from(range(997)))
"""Numbers from which other code chooses (modulo the number of choices), all equally likely.

``st.integers`` would draw the smallest numbers too often.
"""

_is_present = st.booleans()


def texts(min_size: int = 0, max_size: int = 8) -> SearchStrategy[str]:
    """Draw text that every database stores: without NUL and without surrogates."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.text(characters, min_size=min_size, max_size=max_size)


def texts_matching(pattern: str) -> SearchStrategy[str]:
    """Draw text that matches one of the library's patterns, which contain ASCII only."""
    # Without an alphabet Hypothesis first computes all of Unicode, which takes seconds.
    return st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))


def _text_of_length(size: int) -> SearchStrategy[str]:
    # st.just(text) would contain the text in its name, and Hypothesis warns about long names.
    return st.just(size).map(lambda size: "é" * size)


def names(plain: str, longest: int) -> SearchStrategy[str]:
    """Draw text that is not blank: ``plain``, one character, a few, and ``longest`` characters."""
    short = [texts(1, size).filter(str.strip) for size in (1, 8)]
    return st.one_of(st.just(plain), *short, _text_of_length(longest))


# The last alternatives are larger than 2**53 but still exact as floating-point numbers.
_numbers = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**53 + 2, -(2**63), 10**22]),
)
_scalars: SearchStrategy[Any] = st.one_of(st.none(), st.booleans(), _numbers, texts())


def _nested(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Draw a scalar, or a list or an object of ``inner`` values."""
    return st.one_of(_scalars, st.lists(inner, max_size=3), members(inner))


def members(values: SearchStrategy[Any]) -> SearchStrategy[Members]:
    """Draw JSON objects with at most three members."""
    return st.dictionaries(texts(), values, max_size=3)


# Three levels are written out, because st.recursive draws half as fast.
_json_values = built(lambda value: value, _nested(_nested(_nested(_scalars))))


def json_values() -> SearchStrategy[Any]:
    """Draw a small JSON value that the library accepts, as ``json.loads`` returns it."""
    return _json_values


def objects(
    required: dict[str, SearchStrategy[Any]], optional: dict[str, SearchStrategy[Any]]
) -> SearchStrategy[Members]:
    """Draw JSON objects with all required members and any of the optional ones."""
    required_members = st.fixed_dictionaries(required)

    def recipe(draw: st.DrawFn) -> Members:
        # One boolean for each member shrinks further than st.fixed_dictionaries(optional=...).
        drawn = draw(required_members)
        return drawn | {name: draw(value) for name, value in optional.items() if draw(_is_present)}

    return composed(recipe)


def or_absent(
    members: dict[str, SearchStrategy[Any]], absent: Sequence[Any] = (None, "")
) -> dict[str, SearchStrategy[Any]]:
    """Return the strategies of members that are sometimes one of the values that mean absent."""
    return {
        name: st.one_of(values, values, values, st.sampled_from(absent))
        for name, values in members.items()
    }


def channel_names(vocabulary: Vocabulary | None) -> list[str]:
    """Return names of channels, the simplest first."""
    if vocabulary is None:
        return ["email", "fax", "carrier_pigeon", "a", "z" * 40]
    # The shortest name comes first: of the standard channels, email.
    return sorted((channel.name for channel in vocabulary.channels), key=len)


labels = st.one_of(st.just("Intro"), texts(1, 1), texts(1, 8), _text_of_length(MAX_LABEL))
_variants = st.integers(1, MAX_VARIANTS)
_step_configs = st.one_of(
    objects({}, {"tone": st.just("casual"), "subject": texts(), "words": st.integers(0, 500)}),
    members(_json_values),
)
# Fields of the service, which a submitted document may have if their names begin with x_.
_own_fields = st.one_of(
    st.just({}), st.dictionaries(texts().map(lambda name: f"x_{name}"), _json_values, max_size=2)
)
# Fields that a stored document may have: of other services, and misspelled fields of the library.
_unknown_fields = st.one_of(
    st.just({}),
    st.dictionaries(
        st.sampled_from(["order", "delay_days", "ai_model", "x_crm", "Label", "a/b~c", ""]),
        _json_values,
        max_size=2,
    ),
)


def _with_members(
    known: SearchStrategy[Members], others: SearchStrategy[Members]
) -> SearchStrategy[Members]:
    return built(lambda known, others: known | others, known, others)


def _simplest_step(vocabulary: Vocabulary | None) -> Members:
    """Return the required members of a step."""
    channel = {"channel": channel_names(vocabulary)[0]}
    if vocabulary is None:
        return channel
    return channel | {"label": "Intro", "enabled": True, "needs_pdf": False, "variant_count": 1}


def step(vocabulary: Vocabulary | None) -> SearchStrategy[Members]:
    """Draw the members of a step, except ``step``, ``key`` and ``day_offset``.

    The values of these three members depend on the other steps of the sequence. The stored form
    requires only the channel.
    """
    simplest = _simplest_step(vocabulary)
    channel = {"channel": st.sampled_from(channel_names(vocabulary))}
    basic: dict[str, SearchStrategy[Any]] = {
        "label": labels,
        "enabled": st.sampled_from([True, False]),
        "needs_pdf": st.booleans(),
        "variant_count": _variants,
    }
    optional: dict[str, SearchStrategy[Any]] = {
        "condition": st.sampled_from([condition.value for condition in Condition]),
        "config": _step_configs,
    }
    if vocabulary is None:
        number = {"step": st.integers(1, 99)}
        long_label = st.just("l" * (MAX_LABEL + 1))
        nullable = or_absent(number | basic | optional | {"label": labels | long_label})
        rich = _with_members(objects(channel, nullable), _unknown_fields)
    else:
        rich = _with_members(objects(channel | basic, optional), _own_fields)
    # The simplest step takes few choices, so that Hypothesis can remove it from a failing sequence.
    return st.one_of(built(simplest.copy), rich, rich)


_KEYS = (None, "s{}", "step-{}", "{:_>40}")
"""Templates of step keys. No two steps of one sequence get the same key."""

_days = st.one_of(st.none(), st.integers(0, MAX_DAY_OFFSET), st.sampled_from([0, MAX_DAY_OFFSET]))
_rarely = st.sampled_from([False] * 9 + [True])


_DrawnStep = tuple[Members, str | None, int | None]
"""The members of a step, the template of its key, and its day offset."""


def steps(
    vocabulary: Vocabulary | None, min_size: int, max_size: int, *, filled: bool
) -> SearchStrategy[list[Members]]:
    """Draw the members of a sequence of steps, with and without keys and days.

    Sometimes the keys are in reverse order, as after moves. If ``filled``, the sequence sometimes
    has the greatest allowed number of steps.
    """

    def with_key_and_day(members: SearchStrategy[Members]) -> SearchStrategy[_DrawnStep]:
        return st.tuples(members, st.sampled_from(_KEYS), _days)

    drawings = st.lists(with_key_and_day(step(vocabulary)), min_size=min_size, max_size=max_size)
    simplest = with_key_and_day(built(_simplest_step(vocabulary).copy))

    def recipe(draw: st.DrawFn) -> list[Members]:
        # These two choices come first, because Hypothesis varies the first choices most.
        fill, reverse_keys = filled and draw(_rarely), draw(_rarely)
        drawn_steps = draw(drawings)
        if fill:
            # Draw every step, so that Hypothesis takes two steps for simpler than twenty.
            drawn_steps += [draw(simplest) for _ in range(MAX_STEPS - len(drawn_steps))]
        return _finish_steps(drawn_steps, reverse_keys=reverse_keys)

    return composed(recipe)


def _finish_steps(drawn_steps: list[_DrawnStep], *, reverse_keys: bool) -> list[Members]:
    """Return the members of each step, with its key and its day offset if it has them.

    Keys are unique. Days never decrease. ``reverse_keys`` writes a key into every step, and puts
    the keys in reverse order.
    """
    keys = [
        None if template is None else template.format(number)
        for number, (_, template, _) in enumerate(drawn_steps, start=1)
    ]
    if reverse_keys:
        # A step without a key counts as "s" and its position, which may now be another step's key.
        keys = [key or f"s{number}" for number, key in enumerate(keys, start=1)]
        keys.reverse()
    days = iter(sorted(day for _, _, day in drawn_steps if day is not None))
    return [
        members
        | ({} if key is None else {"key": key})
        | ({} if day is None else {"day_offset": next(days)})
        for (members, _, day), key in zip(drawn_steps, keys, strict=True)
    ]


ids = st.integers(1, 2**128 - 1).map(lambda number: UUID(int=number))
"""Ids that shrink to 00000000-0000-0000-0000-000000000001. Those of ``st.uuids()`` do not."""


def _amounts_with(decimals: int) -> SearchStrategy[str]:
    """Draw amounts of money as text with exactly this number of decimals."""

    def as_text(units: int) -> str:
        whole, part = divmod(units, 10**decimals)
        return f"{whole}.{part:0{decimals}}" if decimals else str(whole)

    return st.integers(0, int(MONEY_LIMIT) * 10**decimals - 1).map(as_text)


_ALL_NINES = "9" * MONEY_DECIMALS
amounts: SearchStrategy[str] = st.one_of(
    *map(_amounts_with, (0, 2, MONEY_DECIMALS)),
    texts_matching(MONEY_PATTERN),
    st.sampled_from(["0", f"0.{1:0{MONEY_DECIMALS}}", f"{MONEY_LIMIT - 1}.{_ALL_NINES}"]),
)
"""Amounts of money as text: whole, with two decimals, with nine decimals, with any number."""

languages = st.one_of(
    st.sampled_from(["en", "pt-BR", "A" * 8 + "-1234abcd" * 3]), texts_matching(LANGUAGE_PATTERN)
)


def settings(vocabulary: Vocabulary | None) -> SearchStrategy[Members]:
    """Draw the members of generation settings."""
    long_tones = ["t" * length for length in (MAX_TONE, MAX_TONE_TEXT, MAX_TONE_TEXT + 1)]
    tones = ["casual", "?", *long_tones] if vocabulary is None else vocabulary.tones
    known: dict[str, SearchStrategy[Any]] = {
        "tone": st.sampled_from(tones),
        "language": languages,
        "custom_instructions": texts() | _text_of_length(MAX_INSTRUCTIONS),
        "default_variant_count": _variants,
        "budget": amounts,
    }
    return _with_members(
        objects({}, or_absent(known) if vocabulary is None else known),
        _unknown_fields if vocabulary is None else _own_fields,
    )


descriptions = texts() | _text_of_length(MAX_DESCRIPTION)


def numbered(steps: list[Members]) -> list[Members]:
    """Write the number of each step, from 1, as its first member."""
    return [{"step": 0} | step | {"step": index + 1} for index, step in enumerate(steps)]
