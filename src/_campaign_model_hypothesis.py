"""The ``hypothesis`` entry point: ``st.from_type`` knows the public types of campaign_model.

Hypothesis loads this in every project of an environment. It stands beside the package, not in it,
so that loading it loads nothing else and nothing of ours can fail there: types are registered once
somebody imports campaign_model, strategies are made once somebody asks for one.
"""

import sys
from enum import Enum
from typing import Any

from hypothesis.strategies import register_type_strategy


def register() -> None:
    """Register the public types, if there are any yet; campaign_model calls this once there are.

    Enumerations are left out: Hypothesis draws their members by itself.
    """
    package = sys.modules.get("campaign_model")
    for name in getattr(package, "__all__", ()):
        found = getattr(package, name)
        if isinstance(found, type) and not issubclass(found, Enum):
            register_type_strategy(found, _strategy)


def _strategy(type_: Any) -> Any:
    from campaign_model.testing.strategies import of_type  # noqa: PLC0415 - for those who ask

    return of_type(type_)
