"""The public modules of the library, and the public names in them."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from campaign_model import testing

__all__ = ["MODULES", "public_names"]

MODULES = (
    "campaign_model",
    "campaign_model.lifecycle",
    "campaign_model.presets",
    "campaign_model.store",
    "campaign_model.store.tables",
    "campaign_model.db",
    "campaign_model.worker",
    "campaign_model.pydantic",
    "campaign_model.fastapi",
    *(
        f"campaign_model.testing.{module.name}"
        for module in pkgutil.iter_modules(testing.__path__)
        if not module.name.startswith("_")
    ),
)
"""The public modules. A name in ``__all__`` of one of them is public."""


def public_names() -> dict[str, list[str]]:
    """Return the public names of every public module.

    A value that several modules export, such as ``HostTables``, is returned for the first.
    """
    seen: set[tuple[str, int]] = set()
    names: dict[str, list[str]] = {}
    for module in MODULES:
        exported = import_module(module)
        for name in getattr(exported, "__all__", ()):
            key = (name, id(getattr(exported, name)))
            if key not in seen and f"{module}.{name}" not in MODULES:
                seen.add(key)
                names.setdefault(module, []).append(name)
    return names
