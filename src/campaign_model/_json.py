"""JSON as immutable values, read exactly: nothing coerced, nothing lost without a word."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from campaign_model.errors import InvalidDocument, Violation, short_repr

__all__ = [
    "EMPTY",
    "MAX_DEPTH",
    "Fault",
    "JsonObject",
    "canonical",
    "digest",
    "fault_in",
    "faults_in",
    "flat_object",
    "freeze",
    "json_object",
    "loads",
    "pointer_to",
    "quick_loads",
    "read",
    "same_member",
    "text_fault",
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
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # Of an enumeration's member, the text alone.
    if isinstance(value, int):
        return _number(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON has no number {value!r}")
        return float(value)
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


def digest(value: Any) -> str:
    """The same 64 hexadecimal digits for every spelling of the same JSON value, for no other."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL

    return hashlib.sha256(canonical(value).encode()).hexdigest()


EMPTY = JsonObject()


def json_object(value: Any) -> Any:
    """``value`` as a ``JsonObject`` if it can be one, else as it is, for a check to refuse."""
    if value is None or type(value) is JsonObject:
        return value
    try:
        return JsonObject(value) if isinstance(value, Mapping) else value
    except (RecursionError, TypeError, ValueError):
        return value


def same_member(members: JsonObject, name: str, value: Any) -> bool:
    """Whether ``members`` has a member ``name`` of the same JSON value."""
    return name in members and json_object({name: value}) == JsonObject({name: members[name]})


Fault = tuple[str, str, str]
"""What is wrong within a JSON value: pointer, code, and a message that follows the place."""

# The way down to a value, as (way to its parent, name or index): cheap to make, rarely looked at.
_Link = tuple[Any, str | int]


def faults_in(value: Any, depth: int = 0) -> Iterator[Fault]:
    """Everything in ``value`` that a database or a JSON reader would refuse or change.

    Looks for nesting beyond ``MAX_DEPTH`` levels (``value`` itself stands at ``depth``), for NUL
    characters and lone surrogates (PostgreSQL stores neither), for numbers no double can hold,
    for members that stand twice, and for values that are not JSON at all.
    """
    stack: list[tuple[_Link | None, Any, int]] = [(None, value, depth)]
    while stack:
        link, found, level = stack.pop()
        if level > MAX_DEPTH:
            yield _pointer(link), "too_deep", f"is nested deeper than {MAX_DEPTH} levels"
        elif isinstance(found, str):
            if (fault := text_fault(found)) is not None:
                yield _pointer(link), "invalid_text", fault
        elif isinstance(found, Mapping):
            for name, member in found.items():
                if not isinstance(name, str):
                    fault = (
                        f"has a member name of the type {type(name).__name__}; it has to be text"
                    )
                    yield _pointer(link), "not_json", fault
                elif (fault := text_fault(name)) is not None:
                    fault = f"has a member {short_repr(name)}, whose name {fault}"
                    yield _pointer(link), "invalid_text", fault
                else:
                    stack.append(((link, name), member, level + 1))
            if isinstance(found, _Doubled):
                for name in found.doubled:
                    if text_fault(name) is None:  # Else told above; no pointer can hold it.
                        fault = "stands more than once in one object; only one may stay"
                        yield _pointer((link, name)), "duplicate_member", fault
        elif isinstance(found, list | tuple):
            stack.extend(((link, index), member, level + 1) for index, member in enumerate(found))
        elif isinstance(found, float):
            if not math.isfinite(found):
                fault = f"is {json.dumps(found)}; it has to be a number that JSON has"
                yield _pointer(link), "not_json", fault
        elif isinstance(found, int):
            if (code := _number_fault(found)) is not None:
                fault = (
                    "is larger than any double; it has to be a smaller number, or text"
                    if code == "number_too_large"
                    else f"is {found}, which no double holds; it has to be of fewer digits, or text"
                )
                yield _pointer(link), code, fault
        elif found is not None:
            fault = f"is of the type {type(found).__name__}; it has to be something that JSON has"
            yield _pointer(link), "not_json", fault


def fault_in(value: Any, depth: int = 0) -> Fault | None:
    """One of :func:`faults_in`, or ``None`` if there are none."""
    return next(faults_in(value, depth), None)


def flat_object(members: dict[str, Any]) -> JsonObject | None:
    """A ``JsonObject`` of members without faults, quickly; ``None`` if it takes a closer look."""
    for name, value in members.items():
        if type(name) is not str or text_fault(name) is not None:
            return None
        if type(value) is str:
            if text_fault(value) is not None:
                return None
        elif type(value) is int:
            if not -(2**53) <= value <= 2**53:
                return None
        elif value is not None and type(value) is not bool:
            return None
    flat = object.__new__(JsonObject)
    object.__setattr__(flat, "_items", members.copy())
    return flat


def pointer_to(tokens: Iterable[str | int]) -> str:
    """The JSON Pointer (RFC 6901) that leads over these member names and indexes."""
    return "".join(f"/{str(token).replace('~', '~0').replace('/', '~1')}" for token in tokens)


def _pointer(link: _Link | None) -> str:
    tokens: list[str | int] = []
    while link is not None:
        link, token = link
        tokens.append(token)
    return pointer_to(reversed(tokens))


def text_fault(text: str) -> str | None:
    """What a database or a JSON reader would refuse in ``text``, or ``None``."""
    if "\0" in text:
        return "contains a NUL character, which databases cannot keep; it has to go"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "contains half of a surrogate pair, which is no character; it has to go"
    return None


def _number(number: int) -> int | float:
    """``number``, or the double that it spells: 1e23 is no whole number that a double holds.

    ``jsonb`` writes a large double in plain digits, those of its shortest spelling.
    """
    if -(2**53) <= number <= 2**53 or _number_fault(number) is not None:
        return number
    return number if int(float(number)) == number else float(number)


def _number_fault(number: int) -> str | None:
    if -(2**53) <= number <= 2**53:
        return None
    try:
        double = float(number)
    except OverflowError:
        return "number_too_large"
    held = int(double) == number or Decimal(repr(double)) == number
    return None if held else "number_too_precise"


class _Doubled(dict[str, Any]):
    """An object in whose text some members stood more than once."""

    doubled: tuple[str, ...]


class _DoubledMemberError(ValueError):
    pass


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _DoubledMemberError
    return members


def _marked_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    marked = _Doubled(members)
    counts = Counter(name for name, _ in pairs)
    marked.doubled = tuple(name for name, count in counts.items() if count > 1)
    return marked


def _any_int(digits: str) -> int:
    # Python reads no integer of more than 4300 digits; none of more than 309 is a double.
    return int(digits[:400])


def _any_float(digits: str) -> float:
    number = float(digits)
    # An infinity would be told from one that the text spells out; an integer is as far off.
    return number if math.isfinite(number) else 10**400


_quick_reader = json.JSONDecoder(object_pairs_hook=_members)
_lenient_reader = json.JSONDecoder(parse_int=_any_int, parse_float=_any_float)
_marking_reader = json.JSONDecoder(
    object_pairs_hook=_marked_members, parse_int=_any_int, parse_float=_any_float
)


def quick_loads(text: str) -> Any:
    """Read JSON fast: the result still has to pass :func:`faults_in`, whole or piece by piece.

    Only what cannot be seen afterwards is looked for here, members that stand twice.
    Raises ``ValueError`` or ``RecursionError``; :func:`read` tells what it was.
    """
    return _quick_reader.decode(text)


def read(text: str, depth: int = 0) -> tuple[Any, list[Fault]]:
    """Read JSON and tell everything that :func:`faults_in` finds in it.

    Of members that stand twice the last one counts. What is no JSON at all is read as ``None``,
    with that as its one fault.
    """
    try:
        faults = list(faults_in(_marking_reader.decode(text), depth))
    except json.JSONDecodeError as error:
        what = error.msg if text.strip() else "there is nothing in it"
        where = f"(line {error.lineno}, column {error.colno})"
        return None, [("", "not_json", f"this is not JSON: {what} {where}")]
    except RecursionError:
        return None, [("", "too_deep", f"is nested deeper than {MAX_DEPTH} levels")]
    return _lenient_reader.decode(text), faults


def loads(text: str, document: str = "document") -> Any:
    """Read JSON exactly.

    Refuses what Python's reader lets pass or changes: all that :func:`faults_in` looks for.
    Raises :class:`InvalidDocument` naming ``document``, with every fault.
    """
    value, faults = read(text)
    if faults:
        raise InvalidDocument(
            document,
            tuple(
                Violation(pointer, code, f"{document}{pointer}: {message}")
                for pointer, code, message in faults
            ),
        )
    return value
