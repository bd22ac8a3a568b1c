"""Thousands of documents for the judges: Hypothesis draws some, and each is changed many times.

A change is cheap. It replaces a value, or spells the text in another way: repeated members,
escapes, other notations of numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaign_model.testing.documents import NAMES, STRANGE, valid
from campaign_model.testing.strategies import json_values
from support.differences import Document

BATCH = 25
"""The number of documents made from each one that Hypothesis draws."""

_SPELLINGS = (
    # Numbers, whole and almost whole, in every notation.
    *("-0", "0.0", "-0.0", "0e0", "1.0", "1e0", "1E+0", "10e-1", "0.1e1", "1.00", "2.0", "3.0"),
    *("3e0", "30e-1", "4e0", "1.5", "0.99999999999999999999", "3.00000000000000000001", "0.1"),
    *("365.0", "3.65e2", "365.00000000000000001", "1e1", "1e22", "1e23", "1e30", "1e400", "-1e400"),
    *("1e-400", "1e-16384", "9007199254740993", "9007199254740993.0", "12345678901234567890"),
    *("100000000000000000000", "-1.0", "01", "1.", ".5", "+1", "0x1", "1e", "-", "NaN", "Infinity"),
    *("0e9999999999", "0." + "1" * 16_383),
    # Text, and spellings that are not JSON text.
    *(r'"\u0065mail"', r'"\/"', '"é"', r'"e\u0301"', r'"\uFEFF"', r'"\u007f"', r'"\u2028"'),
    *(r'"\u0085"', r'"\u180e"', r'"\u001f"', r'"\x41"', r'"\u12"', "'email'", "email"),
)
_SIMPLEST = ("null", "true", "false", "0", "1", "1.0", "-1", '""', '"1"', "[]", "{}")
_VALUES = (*_SPELLINGS, *map(json.dumps, STRANGE))
_LETTERS = (*"aZ9-_. é😀",)
_ESCAPES = (
    *(r"\u0000", r"\u0061", r"\u006B", r"\u007a", r"\u005F", r"\u00e9", r"\n", r"\"", r"\\", "u"),
    *(r"\ud83d", r"\uDBFF", r"\uD800", r"\ude00", r"\uDFFF", r"\udc00", r"\ud7ff", r"\ue000"),
)
_KNOWN = frozenset(map(json.dumps, NAMES))
_CHARACTERS = (*'[]{},:"\\0123456789eE.+- \t\n\0/', "\ufeff", "\xa0", "é", "\u0663", "true", "")
_CHANGES = (*["spelling"] * 5, *["value"] * 2, "remove", "add", "double", "move", "name", "wrap")


class _Object(list[list[Any]]):
    """A JSON object as its text: pairs of name and value, in order, with repeated names.

    Names and scalar values are JSON text.
    """


def _tree(value: Any) -> Any:
    if isinstance(value, dict):
        return _Object([json.dumps(name), _tree(member)] for name, member in value.items())
    return [_tree(item) for item in value] if isinstance(value, list) else json.dumps(value)


def _text(tree: Any) -> str:
    if isinstance(tree, _Object):
        return f"{{{', '.join(f'{name}: {_text(member)}' for name, member in tree)}}}"
    return f"[{', '.join(map(_text, tree))}]" if isinstance(tree, list) else str(tree)


def _copy(tree: Any) -> Any:
    return type(tree)(map(_copy, tree)) if isinstance(tree, list) else tree


def _places(tree: list[Any]) -> list[tuple[list[Any], int]]:
    """Return every place in the tree: the array or object, and the index in it."""
    places = [(tree, index) for index in range(len(tree))]
    for value in tree:
        inner = value[1] if isinstance(tree, _Object) else value
        if isinstance(inner, list):
            places += _places(inner)
    return places


def _respelled(random: Random, text: str) -> str:
    """Return the same number or text in another spelling, or a similar one."""
    try:
        value = json.loads(text)
    except ValueError:
        return text[:-1]
    if isinstance(value, str):
        at, cut = random.randint(0, len(value)), random.choice([0, 0, 1])
        pieces = random.choice([_LETTERS, _LETTERS, _ESCAPES])
        new = "".join(random.choices(pieces, k=random.choice([0, 1, 1, 1, 2, 3])))
        return json.dumps(value[:at])[:-1] + new + json.dumps(value[at + cut :])[1:]
    if type(value) is int and random.random() < 0.5:
        return str(random.choice([value + 1, value - 1, -value]))
    return text + random.choice([".0", "e0", "0e-1", ".5", "E+1", "0", "." + "0" * 20 + "1"])


def _change(random: Random, document: list[Any], values: list[str]) -> None:
    """Change one value in ``document``, a list that contains only the document."""
    # Choose a value of another type often.
    value = random.choice(random.choice([_SIMPLEST, values]))
    if not document:
        document.append(value)
    places = _places(document)
    # Prefer the values of known fields: they matter most, and there are many other places.
    known = [
        (parent, index)
        for parent, index in places
        if isinstance(parent, _Object) and parent[index][0] in _KNOWN
    ]
    parent, index = random.choice(known if known and random.random() < 0.6 else places)
    is_object = isinstance(parent, _Object)
    place, at = (parent[index], 1) if is_object else (parent, index)
    match random.choice(_CHANGES):
        case "spelling" if isinstance(place[at], str):
            place[at] = _respelled(random, place[at])
        case "remove":
            del parent[index]
        case "add":
            into = place[at] if isinstance(place[at], list) else parent
            name = json.dumps(random.choice(NAMES))
            new = [name, value] if isinstance(into, _Object) else value
            into.insert(random.randint(0, len(into)), new)
        case "double":
            doubles = [_copy(parent[index]) for _ in range(random.choice([1, 1, 2, 25]))]
            if is_object and random.random() < 0.7:
                doubles[0][1] = value
            before = index + random.randint(0, 1)
            parent[before:before] = doubles
        case "move":
            parent.insert(random.randrange(len(parent)), parent.pop(index))
        case "name" if is_object:
            other = json.dumps(random.choice(NAMES))
            place[0] = random.choice([other, _respelled(random, place[0])])
        case "wrap":
            text, depth = _text(place[at]), random.choice([1, 1, 60, 62, 63, 64, 65, 500])
            place[at] = random.choice([json.dumps(text), "[" * depth + text + "]" * depth])
        case _:
            place[at] = value


def _garbled(random: Random, text: str) -> str:
    """Replace or insert one character."""
    at = random.randint(0, len(text))
    return f"{text[:at]}{random.choice(_CHARACTERS)}{text[at + random.choice([0, 0, 1, 5]) :]}"


def _variants(random: Random, document: Any, noise: list[Any]) -> Iterator[str]:
    """Yield the text of ``document``, and then endlessly texts of changed documents."""
    tree, values = _tree(document), [*_VALUES, *map(json.dumps, noise)]
    yield from map(json.dumps, [document, *noise])
    while True:
        changed = [_copy(tree)]
        for _ in range(random.choice([1, 1, 1, 2, 2, 3])):
            _change(random, changed, values)
        text = " ".join(map(_text, changed))
        yield _garbled(random, text) if random.random() < 0.1 else text


def draw(
    kind: str, form: str, count: int, seen: set[int], visit: Callable[[list[Document]], None]
) -> None:
    """Call ``visit`` with ``count`` documents of that kind, valid in that form or changed.

    ``seen`` holds the hashes of all documents so far: none is visited twice.
    """
    left = count

    def is_new(document: Document) -> bool:
        before = len(seen)
        seen.add(hash(document))
        return len(seen) > before

    @settings(
        max_examples=-(-count // BATCH),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(valid(kind, form), st.lists(json_values(), max_size=2), st.integers(0, 2**64))
    def batch(document: Any, noise: list[Any], seed: int) -> None:
        nonlocal left
        # Hypothesis may draw the same seed again.
        texts = _variants(Random(f"{seed} {left}"), document, noise)
        new = filter(is_new, (Document(kind, text) for text in texts))
        documents = list(islice(new, min(BATCH, left)))
        left -= len(documents)
        if documents:
            visit(documents)

    while left:
        batch()
