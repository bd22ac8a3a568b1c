"""A mutation of inputs that keeps JSON valid: libFuzzer's own mutations break most of it."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from fuzz import seeds

WORDS = [*seeds.words()]
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.0, 0.5, 2**53 + 1, 10**400, 1e300),
    *("", " ", "\0", "\ud800", "[]", '{"a":1}', "x" * 501),
    *([], {}, [[]], {"": None}),
)


def mutate_document(data: bytes, seed: int) -> bytes | None:
    """Change one member of the JSON text after the first byte; None if it is no JSON."""
    start = 2 if data[:1] == b"4" else 1
    choose = random.Random(seed)
    try:
        document = json.loads(data[start:])
    except (ValueError, RecursionError):
        return None
    holder = [document]
    places = [*find_places(holder)]
    parent, name = choose.choice(places)
    value = choose.choice([*VALUES, choose.choice(WORDS), *(p[n] for p, n in places[:50])])
    value = copy.deepcopy(value)
    match choose.randrange(5):
        case 0 if parent is not holder:
            del parent[name]
        case 1 if isinstance(parent, dict):
            parent[choose.choice(WORDS)] = value
        case 2 if isinstance(parent, list) and parent is not holder:
            parent.insert(name, value)
        case 3:
            parent[name] = json.dumps(parent[name])
        case _:
            parent[name] = value
    return data[:start] + json.dumps(holder[0]).encode()


def find_places(parent: Any) -> Any:
    """Yield each member of an object or array, at any depth, as its parent and its name."""
    names = [*parent] if isinstance(parent, dict) else range(len(parent))
    for name in names:
        yield parent, name
        if isinstance(parent[name], dict | list):
            yield from find_places(parent[name])
