"""Hypothesis strategies for the library's values. Each function returns a strategy."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model.steps import MAX_DAY_OFFSET, MAX_LABEL, MAX_VARIANTS, Step, StepSequence
from campaign_model.vocabulary import STANDARD, Condition, Vocabulary

__all__ = ["json_objects", "json_values", "step_sequences", "steps", "texts"]


def texts(min_size: int = 0, max_size: int = 8) -> SearchStrategy[str]:
    """Text that every database stores: no NUL, no half of a surrogate pair."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.text(characters, min_size=min_size, max_size=max_size)


def json_values() -> SearchStrategy[Any]:
    """Any small JSON value that the library keeps, as ``json.loads`` gives it."""
    numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    scalars = st.none() | st.booleans() | numbers | texts()
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=8,
    )


def json_objects() -> SearchStrategy[dict[str, Any]]:
    """Small JSON objects of :func:`json_values`, as ``dict``."""
    return st.dictionaries(texts(), json_values(), max_size=3)


def steps(vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Step]:
    """Steps without a key or a day: what they are depends on the steps around them."""
    return st.builds(
        Step,
        channel=st.sampled_from([channel.name for channel in vocabulary.channels]),
        label=texts(min_size=1) | st.just("x" * MAX_LABEL),
        enabled=st.booleans(),
        needs_pdf=st.booleans(),
        variant_count=st.integers(1, MAX_VARIANTS),
        condition=st.none() | st.sampled_from(Condition),
        config=st.none() | json_objects(),
        extra=st.dictionaries(texts().map("x_".__add__), json_values(), max_size=2),
    )


@st.composite
def _step_sequences(
    draw: st.DrawFn, min_size: int, max_size: int, each: SearchStrategy[Step]
) -> StepSequence:
    """Valid sequences: some steps keyed and some not, some with a day and some without."""
    days = st.none() | st.integers(0, MAX_DAY_OFFSET)
    drawn = draw(
        st.lists(st.tuples(each, st.booleans(), days), min_size=min_size, max_size=max_size)
    )
    ordered = iter(sorted(day for _, _, day in drawn if day is not None))
    return StepSequence(
        attrs.evolve(
            step,
            key=f"key-{index}" if keyed else None,
            day_offset=None if day is None else next(ordered),
        )
        for index, (step, keyed, day) in enumerate(drawn)
    )


def step_sequences(
    min_size: int = 0, max_size: int = 5, *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[StepSequence]:
    """Sequences: some steps keyed and some not, some with a day and some without."""
    return _step_sequences(min_size, max_size, _plain_steps(vocabulary))


def _plain_steps(vocabulary: Vocabulary) -> SearchStrategy[Step]:
    # Drawn many times faster than steps(): for laws about sequences of them.
    names = [channel.name for channel in vocabulary.channels]
    return st.sampled_from(
        [
            Step(
                names[index % len(names)],
                "Intro",
                enabled,
                needs_pdf,
                variants,
                None,
                None,
                condition,
                config,
                extra,
            )
            for enabled in (True, False)
            for variants in (1, 2, 3)
            for index, (needs_pdf, condition, config, extra) in enumerate(
                (
                    (False, None, None, {}),
                    (False, Condition.ALWAYS, {}, {"x_color": [1, None]}),
                    (False, Condition.NO_RESPONSE, {"subject": "Hello", "words": 80}, {}),
                    (True, None, {"tone": "casual"}, {}),
                    (False, Condition.OPENED_NOT_REPLIED, {}, {}),
                )
            )
        ]
    )
