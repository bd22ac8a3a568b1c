"""What only our own property tests need, and how Hypothesis runs here."""

from __future__ import annotations

import copy
import os
import pickle
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

# A busy machine is no fault of the code: neither a slow example nor slow drawing fails a test.
settings.register_profile(
    "campaign-model",
    settings.get_profile("ci" if os.environ.get("CI") else "default"),
    deadline=None,
    # Half of what Hypothesis draws by itself: every engine is asked, on every run.
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
# A mutant is judged by whether a test fails, not by how small the example is.
settings.register_profile(
    "mutation",
    settings.get_profile("campaign-model"),
    phases=(Phase.explicit, Phase.generate),
    database=None,
)
# For a change of the store: an hour of tests/store/test_model.py.
settings.register_profile(
    "long", settings.get_profile("campaign-model"), max_examples=5000, derandomize=False
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


# A small world, in which two values drawn apart are often equal, or equal but for their spelling.
alike: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, False, True, 0, 0.0, -0.0, 1, 1.0, "", "1", 2**53, float(2**53), 0.5]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=3,
)
