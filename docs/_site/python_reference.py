"""The reference of the Python names, as Markdown with directives of autodoc."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from importlib import import_module
from itertools import groupby
from typing import Any

from sphinx.pycode import ModuleAnalyzer

import campaign_model
from public_names import public_names

__all__ = ["module_reference"]

_SUBJECTS = {
    "campaign_model.campaign": "Campaigns and templates",
    "campaign_model.steps": "Steps",
    "campaign_model.generation_config": "Settings",
    "campaign_model.vocabulary": "Vocabularies",
    "campaign_model.wire": "Documents",
    "campaign_model.lifecycle": "The lifecycle",
    "campaign_model.claims": "Claims and outcomes",
    "campaign_model.errors": "Errors",
    "campaign_model._answer": "JSON",
}
"""The modules that define the names of ``campaign_model``, in the order of the page."""


def module_reference(module: str) -> str:
    """Describe every public name of a module; those of ``campaign_model`` by subject."""
    names = public_names()[module]
    parts = [_in_rst([f".. py:module:: {module}"])]
    if module != "campaign_model":
        return "\n\n".join([*parts, _in_rst(_describe(module, name) for name in names)])
    order = {subject: number for number, subject in enumerate(_SUBJECTS)}
    sources = {name: _defining_module(module, name) for name in names}
    names.sort(key=lambda name: order.get(sources[name], len(order)))
    for subject, group in groupby(names, lambda name: _SUBJECTS.get(sources[name], "Other names")):
        parts += [f"## {subject}", _in_rst(_describe(module, name) for name in group)]
    return "\n\n".join(parts)


def _in_rst(directives: Iterable[str]) -> str:
    return "\n".join(["````{eval-rst}", *directives, "````"])


def _describe(module: str, name: str) -> str:
    """Return the directive that describes a name."""
    value = getattr(import_module(module), name)
    full_name = f"{module}.{name}"
    if inspect.isclass(value):
        return f".. autoclass:: {full_name}\n{_options_for_bases(value)}"
    if inspect.isroutine(value):
        return f".. autofunction:: {full_name}\n"
    # Autodoc finds the docstring of a constant only in the module that defines it.
    lines = _docstrings(_defining_module(module, name)).get(("", name), [])
    head = [f".. py:data:: {name}", f"   :module: {module}", ""]
    return "\n".join([*head, *(f"   {line}" for line in lines)])


def _options_for_bases(cls: type) -> str:
    """Return the options that show the bases, and the members of those of this library."""
    bases = cls.__mro__[1:]
    foreign = [base.__name__ for base in bases if not base.__module__.startswith("campaign_model")]
    options = ""
    if bases != (object,):
        options += "   :show-inheritance:\n"
    if len(foreign) < len(bases):
        options += f"   :inherited-members: {','.join(foreign)}\n"
    return options


def _defining_module(module: str, name: str) -> str:
    """Return the module that defines a public name of ``module``."""
    value = getattr(import_module(module), name)
    defining: str | None = getattr(value, "__module__", None)
    if defining in _library_modules():
        return str(defining)
    candidates = (one for one in _library_modules() if ("", name) in _docstrings(one))
    return next(candidates, module)


def _library_modules() -> list[str]:
    private = campaign_model._MODULES  # noqa: SLF001 - the list of the modules with public names
    return [f"campaign_model.{name}" for name in private]


def _docstrings(module: str) -> Any:
    return ModuleAnalyzer.for_module(module).find_attr_docs()
