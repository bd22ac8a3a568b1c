"""Immutable JSON values, and exact reading of JSON text.

:class:`JsonObject` is a JSON object that cannot change; :func:`freeze` and :func:`thaw` convert
between plain Python JSON and immutable values. :func:`canonical` gives one text, and
:func:`digest` one SHA-256, for all spellings of a value.

Nothing is coerced and nothing is lost silently. :func:`decode` reads JSON text without hiding
what Python's reader hides: repeated members and numbers beyond the doubles. :func:`faults_in`
then lists everything that a database or another JSON reader would refuse or change.

Nothing takes more time or memory than a small multiple of the document's size: :func:`decode` and
:class:`JsonObject` refuse values that are larger than the limits (:func:`excess`), before anything
reads them. Within the limits, every other function may visit each member.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import chain
from types import NoneType
from typing import Any

import attrs

from campaign_model.errors import InvalidDocument, Violation, short_repr

MAX_DEPTH = 64
"""The deepest nesting that is accepted. No campaign needs more, and every reader has a limit."""

MAX_MEMBERS = 10_000
"""The most members that all objects and arrays of a document may have together."""

_LARGEST_SAFE_INTEGER = 2**53
"""Up to this size, a double holds every integer."""


class RepeatedMembers(dict[str, Any]):
    """A decoded JSON object whose text names at least one member twice; the last value counts.

    It is never accepted: every reader asks for exactly ``dict``, and ``JsonObject`` refuses it.
    """

    repeated: tuple[str, ...]


def _freeze_members(members: Mapping[str, Any] | None) -> dict[str, Any]:
    if members is None:
        return {}
    if not isinstance(members, _OBJECTS):
        raise TypeError(f"a {type(members).__name__} is not a mapping, so not a JSON object")
    if (fault := excess(members)) is not None:
        raise _not_frozen(fault[1], fault[2])
    return _frozen_members(members, 0)


@attrs.frozen(eq=False, repr=False)
class JsonObject(Mapping[str, Any]):
    """A JSON object that cannot change: hashable, picklable, equal by JSON value.

    Arrays inside are tuples and objects inside are ``JsonObject``. Unlike in a ``dict``, ``true``
    differs from ``1``; ``1`` and ``1.0`` are the same number, as in JSON Schema.
    Raises ``TypeError`` for values that JSON does not have, and :class:`InvalidDocument` for NaN,
    infinity, :class:`RepeatedMembers`, more than 64 levels and more than 10,000 members.
    """

    _items: dict[str, Any] = attrs.field(default=None, converter=_freeze_members)

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def items(self) -> ItemsView[str, Any]:
        """Return a view of the members, as ``dict.items`` does. Much faster than Mapping's."""
        return self._items.items()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JsonObject):
            return NotImplemented
        return self is other or bool(_comparable(self) == _comparable(other))

    def __hash__(self) -> int:
        return hash(_comparable(self))

    def __repr__(self) -> str:
        return f"JsonObject({thaw(self)!r})"


_OBJECTS = (dict, JsonObject, Mapping)  # In this order, because isinstance(..., Mapping) is slow.


def _comparable(value: Any) -> Any:
    """Return a hashable form of a frozen value that is equal exactly for equal JSON values.

    Booleans are tagged with their type, because Python takes ``True`` for equal to ``1``, and JSON
    does not.
    """
    if isinstance(value, JsonObject):
        return frozenset((name, _comparable(member)) for name, member in value.items())
    if isinstance(value, tuple):
        return tuple(_comparable(member) for member in value)
    return (bool, value) if isinstance(value, bool) else value


_IMMUTABLE = {str, bool, NoneType, JsonObject}


def freeze(value: Any, depth: int = 0) -> Any:
    """Return ``value`` as an immutable JSON value: objects to ``JsonObject``, arrays to tuples.

    ``value`` is within the limits of :func:`excess`, except that it may be too deep. It is nested
    ``depth`` levels deep. Errors are those of :class:`JsonObject`.
    """
    if type(value) in _IMMUTABLE:
        return value
    if isinstance(value, str):
        return str.__str__(value)  # The plain text of an enumeration's member.
    if isinstance(value, int):
        return _restore_double(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _not_frozen("not_json", f"has a number {value!r}, which JSON does not have")
        return float(value)
    if isinstance(value, _OBJECTS):
        return freeze_object(value, depth)
    if isinstance(value, list | tuple):
        if depth > MAX_DEPTH:
            raise _not_frozen("too_deep", _TOO_DEEP)
        return tuple([freeze(member, depth + 1) for member in value])
    raise TypeError(f"JSON has no {type(value).__name__}")


def freeze_object(members: Mapping[str, Any], depth: int = 0) -> JsonObject:
    """Return :func:`freeze` of an object."""
    frozen = object.__new__(JsonObject)
    object.__setattr__(frozen, "_items", _frozen_members(members, depth))
    return frozen


def _frozen_members(members: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise _not_frozen("too_deep", _TOO_DEEP)
    if type(members) is RepeatedMembers:
        names = ", ".join(map(short_repr, members.repeated[:3]))
        raise _not_frozen("duplicate_member", f"has members twice, such as {names}")
    for name in members:
        if not isinstance(name, str):
            raise TypeError(f"a JSON object's member names are strings, not {short_repr(name)}")
    return {
        name: value if type(value) in _IMMUTABLE else freeze(value, depth + 1)
        for name, value in members.items()
    }


def _not_frozen(code: str, message: str) -> InvalidDocument:
    return InvalidDocument("JsonObject", (Violation("", code, f"JsonObject: {message}"),))


def thaw(value: Any) -> Any:
    """Return a frozen value as fresh ``dict`` and ``list`` objects, for ``json.dumps``."""
    if isinstance(value, JsonObject):
        return {name: thaw(member) for name, member in value.items()}
    if isinstance(value, tuple):
        return [thaw(member) for member in value]
    return value


def canonical(value: Any) -> str:
    """Return one text for every spelling of a JSON value: members sorted, ``1.0`` as ``1``."""

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
    """Return the SHA-256 of :func:`canonical` in hexadecimal digits."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL

    return hashlib.sha256(canonical(value).encode()).hexdigest()


EMPTY = JsonObject()


def json_object(value: Mapping[str, Any] | None) -> Any:
    """Return ``value`` as a ``JsonObject`` if possible, else unchanged for a check to refuse."""
    if value is None or type(value) is JsonObject:
        return value
    try:
        return JsonObject(value)
    except (InvalidDocument, TypeError):
        return value


def same_member(members: JsonObject, name: str, value: Any) -> bool:
    """Return True if ``members`` has a member ``name`` with the same JSON value."""
    return name in members and json_object({name: value}) == JsonObject({name: members[name]})


# --- Faults: what a database or another JSON reader would refuse or change -----------------------

Tokens = tuple[str | int, ...]
"""The place of a value in its document: member names and indexes."""

Fault = tuple[Tokens, str, str]
"""The place of a fault, its code, and a message that continues "<place>: ..."."""


def excess(value: Any, max_bytes: int | None = None) -> Fault | None:
    """Return the fault of a value with too many members, levels or characters, or ``None``.

    Counts level by level and stops at the first limit. So it ends soon even for a value that
    contains itself, or that contains one part very many times. The characters of all texts and
    member names are at most ``max_bytes``.
    """
    level, members, characters = [value], 0, 0
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return None
        arrays = [one for one in level if isinstance(one, list | tuple)]
        objects: list[Any] = [
            one for one in level if type(one) not in _SCALARS and isinstance(one, _OBJECTS)
        ]
        members += sum(map(len, (*arrays, *objects)))
        if members > MAX_MEMBERS:
            return (), "too_many_members", _TOO_MANY_MEMBERS
        if max_bytes is not None:
            characters += sum(len(one) for one in level if isinstance(one, str))
            if characters > max_bytes:
                return _too_many_bytes(max_bytes)
        names, values = chain(*objects), chain(*(one.values() for one in objects))
        level = [*chain(*arrays), *names, *values]
    return ((), "too_deep", _TOO_DEEP) if level else None


_SCALARS = {str, bool, NoneType, int, float}
_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
_TOO_MANY_MEMBERS = (
    f"has more than {MAX_MEMBERS:,} members, in all objects and lists together; use fewer"
)


def _too_many_bytes(max_bytes: int) -> Fault:
    return (), "too_many_bytes", f"has more than {max_bytes:,} bytes; send a smaller document"


def faults_in(value: Any, depth: int = 0, tokens: Tokens = ()) -> Iterator[Fault]:
    """Yield every fault in ``value``, which is nested ``depth`` levels deep in its document.

    A fault is: nesting beyond ``MAX_DEPTH`` levels, a NUL character or a lone surrogate
    (PostgreSQL stores neither), a number that no double holds, a member that the text names
    twice, and a Python value that JSON does not have. ``tokens`` is the place of ``value``.
    """
    code, message = "not_json", None
    if depth > MAX_DEPTH:
        code, message = "too_deep", _TOO_DEEP
    elif isinstance(value, str):
        code, message = "invalid_text", text_fault(value)
    elif isinstance(value, int):
        code, message = _number_fault(value)
    elif isinstance(value, list | tuple):
        for index, member in enumerate(value):
            yield from faults_in(member, depth + 1, (*tokens, index))
    elif isinstance(value, _OBJECTS):
        for name, member in value.items():
            if not isinstance(name, str):
                message = f"has a member name of the type {type(name).__name__}; use text"
                yield tokens, "not_json", message
            elif (fault := text_fault(name)) is not None:
                message = f"has a member {short_repr(name)}, whose name {fault}"
                yield tokens, "invalid_text", message
            else:
                yield from faults_in(member, depth + 1, (*tokens, name))
        if isinstance(value, RepeatedMembers):
            message = "appears more than once in one object; keep only one"
            for name in value.repeated:
                if text_fault(name) is None:  # A faulty name is reported above, and has no pointer.
                    yield (*tokens, name), "duplicate_member", message
        return
    elif isinstance(value, float):
        if not math.isfinite(value):
            message = f"is {json.dumps(value)}, which JSON does not have; use a number"
    elif value is not None:
        message = f"is of the type {type(value).__name__}, which JSON does not have"
    if message is not None:
        yield tokens, code, message


def fault_in(value: Any, depth: int = 0) -> Fault | None:
    """Return the first of :func:`faults_in`, or ``None``."""
    return next(faults_in(value, depth), None)


def pointer_to(tokens: Iterable[str | int]) -> str:
    """Return the JSON Pointer (RFC 6901) of a place."""
    return "".join(f"/{str(token).replace('~', '~0').replace('/', '~1')}" for token in tokens)


def tokens_of(pointer: str) -> list[str]:
    """Return the names and indexes in a JSON Pointer, all as text."""
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def follow(pointer: str, document: Any) -> tuple[Tokens, Any]:
    """Return the place that a JSON Pointer means, and the value there (``None``: missing)."""
    tokens: list[str | int] = []
    value = document
    for token in tokens_of(pointer):
        if isinstance(value, list):
            tokens.append(int(token))
            value = value[int(token)]
        else:
            tokens.append(token)
            value = value.get(token) if isinstance(value, dict) else None
    return tuple(tokens), value


def text_fault(text: str) -> str | None:
    """Say what a database or a JSON reader would refuse in ``text``, or return ``None``."""
    if "\0" in text:
        return "contains a NUL character, which databases cannot store; remove it"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "contains half of a surrogate pair, which is not a character; remove it"
    return None


def _restore_double(number: int) -> int | float:
    """Return ``number``, or the double that PostgreSQL wrote as these digits.

    ``jsonb`` writes a large double as an integer, with the digits of its shortest spelling: 1e23
    becomes 100000000000000000000000, and no double holds exactly that integer. Return every other
    integer unchanged. :func:`faults_in` refuses the integers that no double holds.
    """
    if -_LARGEST_SAFE_INTEGER <= number <= _LARGEST_SAFE_INTEGER:
        return number
    _code, refusal = _number_fault(number)
    return number if refusal or int(float(number)) == number else float(number)


def _number_fault(number: int) -> tuple[str, str | None]:
    """Return the code and the message for an integer that no double holds."""
    if -_LARGEST_SAFE_INTEGER <= number <= _LARGEST_SAFE_INTEGER:
        return "", None
    try:
        double = float(number)
    except OverflowError:
        message = "is larger than any double; use a smaller number, or text"
        return "number_too_large", message
    if int(double) == number or Decimal(repr(double)) == number:
        return "", None
    message = f"is {number}, which no double holds exactly; use fewer digits, or text"
    return "number_too_precise", message


# --- Reading JSON text ---------------------------------------------------------------------------


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    repeated_members = RepeatedMembers(members)
    counts = Counter(name for name, _ in pairs)
    repeated_members.repeated = tuple(name for name, count in counts.items() if count > 1)
    return repeated_members


def _float_of(digits: str) -> float:
    """Return the double, or for one that is too large an integer that is too large as well.

    An infinity would be mistaken for the word ``Infinity`` in the text.
    """
    number = float(digits)
    return number if math.isfinite(number) else 10**400


_decoder = json.JSONDecoder(object_pairs_hook=_object_of, parse_float=_float_of)
# Python converts at most 4300 digits. The first 400 are already more than any double has.
_long_integer_decoder = json.JSONDecoder(
    object_pairs_hook=_object_of, parse_float=_float_of, parse_int=lambda digits: int(digits[:400])
)


def decode(source: Any, max_bytes: int | None = None) -> tuple[Any, list[Fault]]:
    """Return the value of JSON text, or ``None`` and the fault of a text that cannot be read.

    Anything but text is returned unchanged. A source with more than ``max_bytes`` bytes or
    ``MAX_MEMBERS`` members is a fault too. The value still has to pass :func:`faults_in`, whole or
    piece by piece. An object with repeated members becomes :class:`RepeatedMembers`; a number too
    large for a double becomes an integer that is too large for one.

    Raises ``TypeError`` for bytes: the caller decides how to decode them.
    """
    value: Any = source
    faults: list[Fault] = []
    if isinstance(source, str):
        # A text with more characters has more bytes too, and need not be encoded.
        if max_bytes is not None and (
            len(source) > max_bytes or len(source.encode(errors="surrogatepass")) > max_bytes
        ):
            return None, [_too_many_bytes(max_bytes)]
        value, faults = _decode_text(source, _decoder)
        # A member takes two characters of text or more.
        if len(source) <= 2 * MAX_MEMBERS:
            return value, faults
    elif isinstance(source, bytes | bytearray | memoryview):
        kind = type(source).__name__
        raise TypeError(f"a document is JSON text (str) or a JSON value, not {kind}; decode it")
    fault = excess(value, max_bytes)
    if fault is None or fault[1] == "too_deep":  # `faults_in` says which parts are too deep.
        return value, faults
    return None, [fault]


def _decode_text(text: str, decoder: json.JSONDecoder) -> tuple[Any, list[Fault]]:
    try:
        return decoder.decode(text), []
    except json.JSONDecodeError as error:
        reason = error.msg if text.strip() else "there is nothing in it"
        place = f"(line {error.lineno}, column {error.colno})"
        return None, [((), "not_json", f"this is not JSON: {reason} {place}")]
    except RecursionError:
        return None, [((), "too_deep", _TOO_DEEP)]
    except ValueError:  # An integer has more than 4300 digits.
        return _decode_text(text, _long_integer_decoder)
