"""Strategies for our own property tests, and the profiles of Hypothesis."""

from __future__ import annotations

import copy
import os
import pickle
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

# A busy machine must not fail a test: no deadline, no check of slow drawing.
settings.register_profile(
    "campaign-model",
    settings.get_profile("ci" if os.environ.get("CI") else "default"),
    deadline=None,
    # A quarter of the default, because tests run on every engine.
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
# For the commands that run the long tests.
settings.register_profile("all", settings.get_profile("campaign-model"), max_examples=50)
# For mutation testing, a failure is enough: the example need not be small.
settings.register_profile(
    "mutation",
    settings.get_profile("all"),
    phases=(Phase.explicit, Phase.generate),
    database=None,
)
# One hour of tests/store/test_model.py, for changes of the store.
settings.register_profile(
    "hour", settings.get_profile("campaign-model"), max_examples=5000, derandomize=False
)
# For other versions of Python and of the dependencies in CI: whether the tests run at all.
settings.register_profile("short", settings.get_profile("campaign-model"), max_examples=5)
settings.load_profile("campaign-model")

V = TypeVar("V")


def copies(value: V) -> list[V]:
    """Return copies of ``value`` by every pickle protocol, ``copy`` and ``deepcopy``."""
    return [
        *(
            pickle.loads(pickle.dumps(value, protocol))  # noqa: S301 - our own bytes
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
        copy.copy(value),
        copy.deepcopy(value),
    ]


# Few values: two drawn separately are often equal, or equal except for their spelling.
alike: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, False, True, 0, 0.0, -0.0, 1, 1.0, "", "1", 2**53, float(2**53), 0.5]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=3,
)
