"""JSON as immutable values, read exactly: nothing coerced, nothing lost without a word."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from campaign_model.errors import InvalidDocument, Violation

__all__ = [
    "EMPTY",
    "MAX_DEPTH",
    "JsonObject",
    "canonical",
    "fault_in",
    "freeze",
    "json_object",
    "loads",
    "thaw",
]

MAX_DEPTH = 64
"""Deeper nesting than this is refused: it is never a campaign, and any reader's stack is finite."""


class JsonObject(Mapping[str, Any]):
    """A JSON object that cannot change: hashable, picklable, equal by JSON value.

    Arrays inside are tuples and objects inside are ``JsonObject``. Unlike Python's ``dict``,
    ``true`` differs from ``1``; ``1`` and ``1.0`` are the same number, as in JSON Schema.
    Raises ``TypeError`` for values JSON does not have, and ``ValueError`` for NaN and infinity.
    """

    __slots__ = ("_hash", "_items")
    _items: dict[str, Any]
    _hash: int

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        if items is None:
            items = {}
        if not isinstance(items, Mapping):
            raise TypeError(f"a JSON object is made from a mapping, not a {type(items).__name__}")
        object.__setattr__(
            self, "_items", {_key(name): freeze(value) for name, value in items.items()}
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a JsonObject is immutable; cannot set {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a JsonObject is immutable; cannot delete {name}")

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, JsonObject):
            return NotImplemented
        return bool(_comparable(self) == _comparable(other))

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash(_comparable(self)))
            return self._hash

    def __repr__(self) -> str:
        return f"JsonObject({thaw(self)!r})"

    def __reduce__(self) -> tuple[type[JsonObject], tuple[dict[str, Any]]]:
        return JsonObject, (self._items,)

    def __copy__(self) -> JsonObject:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> JsonObject:
        return self

    def merged(self, changes: Mapping[str, Any]) -> JsonObject:
        """A new object with ``changes`` laid over this one's members."""
        return JsonObject({**self._items, **changes})


def _key(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a JSON object's member names are strings, not {name!r}")
    return name


def _comparable(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return frozenset((name, _comparable(member)) for name, member in value.items())
    if isinstance(value, tuple):
        return tuple(_comparable(member) for member in value)
    return (bool, value) if isinstance(value, bool) else value


def freeze(value: Any) -> Any:
    """``value`` as an immutable JSON value: objects to ``JsonObject``, arrays to tuples."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON has no number {value!r}")
        return value
    if isinstance(value, JsonObject):
        return value
    if isinstance(value, Mapping):
        return JsonObject(value)
    if isinstance(value, list | tuple):
        return tuple(freeze(member) for member in value)
    raise TypeError(f"JSON has no {type(value).__name__}")


def thaw(value: Any) -> Any:
    """The opposite of :func:`freeze`: fresh ``dict`` and ``list`` objects, for ``json.dumps``."""
    if isinstance(value, JsonObject):
        return {name: thaw(member) for name, member in value.items()}
    if isinstance(value, tuple):
        return [thaw(member) for member in value]
    return value


def canonical(value: Any) -> str:
    """One text for every spelling of the same JSON value: members sorted, ``1.0`` as ``1``."""

    def normal(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: normal(member) for name, member in value.items()}
        if isinstance(value, list | tuple):
            return [normal(member) for member in value]
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value

    return json.dumps(normal(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


EMPTY = JsonObject()


def json_object(value: Any) -> Any:
    """``value`` as a ``JsonObject`` if it can be one, else as it is, for a check to refuse."""
    if isinstance(value, JsonObject):
        return value
    try:
        return JsonObject(value) if isinstance(value, Mapping) else value
    except (RecursionError, TypeError, ValueError):
        return value


class _Refused(ValueError):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise _Refused("duplicate_member", f"the member {name!r} stands twice in one object")
        members[name] = value
    return members


def _integer(digits: str) -> int:
    if len(digits) > 15:  # All integers of up to 15 digits are doubles; 2**53 + 1 has 16.
        try:
            exact = int(float(digits)) == int(digits)
        except (OverflowError, ValueError):
            exact = False
        if not exact:
            raise _Refused("number_too_precise", f"a double cannot hold the number {digits[:40]}")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Refused("number_too_large", f"a double cannot hold the number {digits[:40]}")
    return number


def _constant(word: str) -> NoReturn:
    raise _Refused("not_json", f"{word} is not JSON")


def fault_in(value: Any) -> tuple[str, str, str] | None:
    """The first thing in ``value`` that a database or a JSON reader would refuse.

    Returns ``(pointer, code, message)``, or ``None``. Looks for nesting beyond ``MAX_DEPTH``, for
    NUL characters and lone surrogates (PostgreSQL stores neither), and for values that are not
    JSON at all.
    """
    stack: list[tuple[str, Any, int]] = [("", value, 0)]
    while stack:
        pointer, found, depth = stack.pop()
        if depth > MAX_DEPTH:
            return pointer, "too_deep", f"is nested deeper than {MAX_DEPTH} levels"
        if isinstance(found, str):
            if (fault := _text_fault(found)) is not None:
                return pointer, "invalid_text", fault
        elif isinstance(found, Mapping):
            for name, member in found.items():
                if not isinstance(name, str):
                    return pointer, "not_json", f"has a member name that is no string: {name!r}"
                if (fault := _text_fault(name)) is not None:
                    return pointer, "invalid_text", f"has a member name that {fault}"
                step = name.replace("~", "~0").replace("/", "~1")
                stack.append((f"{pointer}/{step}", member, depth + 1))
        elif isinstance(found, list | tuple):
            stack.extend(
                (f"{pointer}/{index}", member, depth + 1) for index, member in enumerate(found)
            )
        elif isinstance(found, float):
            if not math.isfinite(found):
                return pointer, "not_json", f"is {found!r}, which JSON does not have"
        elif isinstance(found, int):
            try:
                exact = int(float(found)) == found
            except OverflowError:
                exact = False
            if not exact:
                return pointer, "number_too_precise", "is a number that a double cannot hold"
        elif found is not None:
            return pointer, "not_json", f"is a {type(found).__name__}, which JSON does not have"
    return None


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return None


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            member
            for found in level
            if isinstance(found, dict | list)
            for member in (found.values() if isinstance(found, dict) else found)
        ]
        if not level:
            return False
    return True


def loads(text: str, document: str = "document") -> Any:
    """Read JSON exactly.

    Refuses what Python's reader lets pass or changes: members that stand twice, numbers a double
    cannot hold, NaN and infinity, nesting deeper than ``MAX_DEPTH``.
    Raises :class:`InvalidDocument` naming ``document``, with one violation.
    """
    too_deep = f"{document}: nested deeper than {MAX_DEPTH} levels"
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
        # Python's reader stops at the depth of its own stack, which differs between machines.
        if text.count("[") + text.count("{") <= MAX_DEPTH or not _is_too_deep(value):
            return value
        fault = Violation("", "too_deep", too_deep)
    except _Refused as refused:
        fault = Violation("", refused.code, f"{document}: {refused.message}")
    except json.JSONDecodeError as error:
        fault = Violation(
            "",
            "not_json",
            f"{document}: this is not JSON: {error.msg} "
            f"(line {error.lineno}, column {error.colno})",
        )
    except RecursionError:
        fault = Violation("", "too_deep", too_deep)
    raise InvalidDocument(document, (fault,))
