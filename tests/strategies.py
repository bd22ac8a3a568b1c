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
    # Half of what Hypothesis draws by itself: every engine is asked, on every run.
    max_examples=50,
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


steps = st.builds(
    Step,
    channel=channels,
    label=words.filter(bool) | st.just("x" * MAX_LABEL),
    enabled=st.booleans(),
    needs_pdf=st.booleans(),
    variant_count=st.integers(1, 3),
    condition=st.none() | st.sampled_from(Condition),
    config=st.none() | json_objects,
    extra=st.dictionaries(words.map("x_".__add__), json_values, max_size=2),
)
"""Steps with any label, config and extra fields that a step may have."""

plain_steps = st.sampled_from(
    [
        Step(channel, "Intro", enabled, needs_pdf, variants, None, None, condition, config, extra)
        for enabled in (True, False)
        for variants in (1, 2, 3)
        for channel, needs_pdf, condition, config, extra in (
            ("email", False, None, None, {}),
            ("email", False, Condition.ALWAYS, {}, {"x_color": [1, None]}),
            ("email", False, Condition.NO_RESPONSE, {"subject": "Hello", "words": 80}, {}),
            ("linkedin_message", True, None, {"tone": "casual"}, {}),
            ("carrier_pigeon", False, Condition.OPENED_NOT_REPLIED, {}, {}),
        )
    ]
)
"""Thirty steps: drawn many times faster, for laws about sequences of them."""


@st.composite
def sequences(draw: st.DrawFn, min_size: int = 0, max_size: int = 5) -> StepSequence:
    """Valid sequences: some steps keyed and some not, some with a day and some without."""
    each = st.tuples(plain_steps, st.booleans(), st.none() | st.integers(0, 30))
    drawn = draw(st.lists(each, min_size=min_size, max_size=max_size))
    days = iter(sorted(day for _, _, day in drawn if day is not None))
    return StepSequence(
        attrs.evolve(
            step,
            key=f"key-{index}" if keyed else None,
            day_offset=None if day is None else next(days),
        )
        for index, (step, keyed, day) in enumerate(drawn)
    )
