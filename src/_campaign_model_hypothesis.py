"""The ``hypothesis`` entry point: it teaches ``st.from_type`` the types of campaign_model.

Hypothesis loads this module in every project of an environment, also in projects that do not use
campaign_model. The module is therefore outside the package and imports nothing of it: loading it
takes no time and cannot fail. ``register`` runs twice at most:

1. Hypothesis calls it when it loads its entry points. If campaign_model is not imported yet,
   nothing happens.
2. campaign_model calls it at the end of its own import, if this module is loaded.

The strategies are imported when ``st.from_type`` needs one of them.
"""

import sys
from enum import Enum
from typing import Any

from hypothesis.strategies import register_type_strategy


def register() -> None:
    """Register a strategy for each public type, if campaign_model is imported.

    Enumerations need none: Hypothesis draws their members without help.
    """
    package = sys.modules.get("campaign_model")
    for name in getattr(package, "__all__", ()):
        public_object = getattr(package, name)
        if isinstance(public_object, type) and not issubclass(public_object, Enum):
            register_type_strategy(public_object, _make_strategy)


def _make_strategy(type_: Any) -> Any:
    from campaign_model.testing.strategies import of_type  # noqa: PLC0415 - slow to import

    return of_type(type_)
