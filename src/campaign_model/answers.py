"""The JSON form of the values that a service answers with, on one cattrs converter.

``ANSWERS.unstructure(value)`` is what ``to_dict`` returns. ``ANSWERS.structure(document, cls)``
makes the value again, for a client in Python. cattrs generates the code from the annotations of the
value types; the hooks of this module say how each type of field looks in JSON.

Every attribute and every property of a value is a member of its JSON object. Steps and settings
look as ``dump_*`` writes them. ``structure`` accepts a document if and only if it is exactly what
``unstructure`` writes for the value, and raises one of ``REFUSALS`` for any other document.
"""

# No "from __future__ import annotations": cattrs reads the annotations of hooks when they are made.

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import ModuleType, NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from campaign_model import campaign, claims, errors, guards, lifecycle, steps
from campaign_model._answer import Answer
from campaign_model._json import JsonObject
from campaign_model._values import amount_text
from campaign_model.campaign import ADOPTED, CampaignContact, CampaignSummary, HistoryEntry, Page
from campaign_model.converter import CONVERTER
from campaign_model.errors import CampaignModelError
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action
from campaign_model.steps import Step, StepSequence
from campaign_model.vocabulary import Condition


def _subclasses(base: type, *modules: ModuleType) -> Iterator[type[Any]]:
    """Yield the subclasses of ``base`` that these modules define."""
    for module in modules:
        for cls in vars(module).values():
            if (
                isinstance(cls, type)
                and issubclass(cls, base)
                and cls.__module__ == module.__name__
            ):
                yield cls


CLASSES: tuple[type[Any], ...] = tuple(
    cls
    for cls in _subclasses(Answer, campaign, claims, guards, lifecycle, steps, errors)
    if cls is not Page
)
"""The values that a service answers with, except pages and errors."""

PAGES: tuple[Any, ...] = (Page[CampaignSummary], Page[CampaignContact])
"""The pages that the store returns."""

ERRORS: dict[str, type[Any]] = {
    cls.code: cls
    for cls in _subclasses(CampaignModelError, errors)
    if cls is not CampaignModelError
}
"""The errors by their code."""

_JSON_TYPES = {str, int, float, bool, NoneType}


def _refuse(value: Any) -> Any:
    raise TypeError(f"JSON has no {type(value).__name__}")


def _write_unknown(type_: Any) -> Callable[[Any], Any]:
    return (lambda value: value) if type_ in _JSON_TYPES else _refuse


ANSWERS = Converter(
    detailed_validation=False,
    unstruct_collection_overrides={AbstractSet: list, Sequence: list},
    unstructure_fallback_factory=_write_unknown,
)

# --- Single values -------------------------------------------------------------------------------

for _type in (bool, int, str, UUID, Condition, JsonObject, StepSequence, GenerationConfig):
    ANSWERS.register_structure_hook(_type, CONVERTER.get_structure_hook(_type))
for _type in (JsonObject, StepSequence, GenerationConfig):
    ANSWERS.register_unstructure_hook(_type, CONVERTER.get_unstructure_hook(_type))
ANSWERS.register_unstructure_hook(  # A step by itself looks like the only step of a sequence.
    Step, lambda step: CONVERTER.unstructure(StepSequence([step]))[0]
)
ANSWERS.register_unstructure_hook(bytes, _refuse)
ANSWERS.register_unstructure_hook(StrEnum, str)
ANSWERS.register_unstructure_hook(UUID, str)
ANSWERS.register_unstructure_hook(Decimal, amount_text)
ANSWERS.register_unstructure_hook(datetime, datetime.isoformat)


def _read_amount(text: Any, _type: Any) -> Decimal:
    if type(text) is not str or not text.replace(".", "").replace("-", "").isdecimal():
        raise ValueError
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError from None


def _read_time(text: Any, _type: Any) -> datetime:
    return datetime.fromisoformat(text)


def _read_number(number: Any, _type: Any) -> Any:
    if type(number) not in (int, float) or not abs(number) < math.inf:
        raise TypeError
    return number


def _optional_reader(annotation: Any) -> Callable[[Any, Any], Any]:
    (type_,) = {*get_args(annotation)} - {NoneType}
    read = ANSWERS.get_structure_hook(type_)
    return lambda value, _: None if value is None else read(value, type_)


def _is_mapping(annotation: Any) -> bool:
    origin: Any = get_origin(annotation)
    return origin is Mapping


def _read_mapping(document: Any, annotation: Any) -> dict[Any, Any]:
    if type(document) is not dict:
        raise TypeError
    key, value = get_args(annotation)
    return {
        ANSWERS.structure(name, key): ANSWERS.structure(member, value)
        for name, member in document.items()
    }


ANSWERS.register_structure_hook(Decimal, _read_amount)
ANSWERS.register_structure_hook(datetime, _read_time)
ANSWERS.register_structure_hook(float, _read_number)
ANSWERS.register_structure_hook_factory(
    lambda annotation: NoneType in get_args(annotation), _optional_reader
)
ANSWERS.register_structure_hook_func(_is_mapping, _read_mapping)


# --- Objects -------------------------------------------------------------------------------------


def is_answer(annotation: Any) -> bool:
    """Tell whether a type is an :class:`Answer` or an error, also with arguments in brackets."""
    cls = get_origin(annotation) or annotation
    return isinstance(cls, type) and issubclass(cls, (Answer, CampaignModelError))


def name_of(annotation: Any) -> str:
    """Return the name of an answer in ``schemas/answers.json``, such as ``CampaignSummaryPage``."""
    items = "".join(item.__name__ for item in get_args(annotation))
    name: str = (get_origin(annotation) or annotation).__name__
    return items + name


NAMES = {name_of(cls) for cls in (*CLASSES, *PAGES, *ERRORS.values())}
"""The names of the answers that ``schemas/answers.json`` describes, each by one JSON object."""


def properties(cls: type) -> list[str]:
    """Return the names of the properties of a class, which its JSON form contains too."""
    return [name for name, member in vars(cls).items() if isinstance(member, property)]


def _make_writer(cls: Any) -> Callable[[Any], dict[str, Any]]:
    """Return the function that writes a value: its attributes, then its properties."""
    if issubclass(cls, CampaignModelError):
        return lambda error: cast("dict[str, Any]", error.to_dict())
    if cls is Page:
        return lambda page: {"items": ANSWERS.unstructure(page.items), "next": page.next}
    write_attributes = make_dict_unstructure_fn(cls, ANSWERS)
    names = properties(cls)

    def write(value: Any) -> dict[str, Any]:
        document: dict[str, Any] = write_attributes(value)
        for name in names:
            document[name] = ANSWERS.unstructure(getattr(value, name))
        return document

    return write


def _make_reader(annotation: Any) -> Callable[[Any, Any], Any]:
    """Return the function that reads exactly what the writer of the type writes."""
    if annotation is CampaignModelError:
        return lambda document, _: ANSWERS.structure(document, ERRORS[document["code"]])
    make: Any = make_dict_structure_fn(annotation, ANSWERS)
    write = ANSWERS.get_unstructure_hook(get_origin(annotation) or annotation)

    def read(document: Any, type_: Any) -> Any:
        if type(document) is not dict:
            raise TypeError
        value = make(document, type_)
        if write(value) != document:
            raise ValueError
        return value

    return read


_HISTORY_ACTION: Any = get_type_hints(HistoryEntry)["action"]


def _read_history_action(word: Any, _type: Any) -> Any:
    return ADOPTED if word == ADOPTED else Action(word)


# cattrs calls a factory when it needs the hook of a type for the first time.
ANSWERS.register_structure_hook_func(
    lambda annotation: annotation == _HISTORY_ACTION, _read_history_action
)
ANSWERS.register_unstructure_hook_factory(is_answer, _make_writer)
ANSWERS.register_structure_hook_factory(is_answer, _make_reader)
