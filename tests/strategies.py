"""What the property tests draw from, and how Hypothesis runs here."""

from __future__ import annotations

import copy
import os
import pickle
from typing import Any, TypeVar

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from campaign_model.steps import MAX_LABEL, Step, StepSequence
from campaign_model.vocabulary import Condition

# A busy machine is no fault of the code: neither a slow example nor slow drawing fails a test.
settings.register_profile(
    "campaign-model",
    settings.get_profile("ci" if os.environ.get("CI") else "default"),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("campaign-model")

V = TypeVar("V")


def copies(value: V) -> list[V]:
    """``value`` by each way of copying it: every pickle protocol, copy, deepcopy."""
    return [
        *(
            pickle.loads(pickle.dumps(value, protocol))  # noqa: S301 - our own bytes
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
        copy.copy(value),
        copy.deepcopy(value),
    ]


# Text that every database stores: no NUL, no half of a surrogate pair.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | words


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)


json_values: st.SearchStrategy[Any] = st.recursive(scalars, _nested, max_leaves=8)
json_objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(words, json_values, max_size=3)

# A small world, in which two values drawn apart are often equal, or equal but for their spelling.
alike: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, False, True, 0, 0.0, -0.0, 1, 1.0, "", "1", 2**53, float(2**53), 0.5]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=3,
)

channels = st.sampled_from(["email", "linkedin_connect", "linkedin_message", "carrier_pigeon"])


def _steps(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(
        Step,
        channel=channels,
        enabled=st.booleans(),
        needs_pdf=st.booleans(),
        variant_count=st.integers(1, 3),
        condition=st.none() | st.sampled_from(Condition),
        **fields,
    )


steps = _steps(
    label=words.filter(bool) | st.just("x" * MAX_LABEL),
    config=st.none() | json_objects,
    extra=st.dictionaries(words.map("x_".__add__), json_values, max_size=2),
)
"""Steps with any label, config and extra fields that a step may have."""

plain_steps = _steps(
    label=st.sampled_from(["Intro", "Value", "Close"]),
    config=st.sampled_from([None, {}, {"tone": "casual"}, {"subject": "Hello", "words": 80}]),
    extra=st.sampled_from([{}, {"x_color": [1, None]}]),
)
"""Steps of a few kinds: drawn many times faster, for laws about sequences of them."""


@st.composite
def sequences(draw: st.DrawFn, min_size: int = 0, max_size: int = 5) -> StepSequence:
    """Valid sequences: some steps keyed and some not, some with a day and some without."""
    drawn = draw(st.lists(plain_steps, min_size=min_size, max_size=max_size))
    days = iter(sorted(draw(st.lists(st.integers(0, 30), max_size=len(drawn)))))
    return StepSequence(
        attrs.evolve(
            step,
            key=f"key-{index}" if keyed else None,
            day_offset=next(days, None) if dated else None,
        )
        for index, (step, keyed, dated) in enumerate(
            (step, draw(st.booleans()), draw(st.booleans())) for step in drawn
        )
    )
