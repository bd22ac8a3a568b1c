"""Where the values of a JSON text stand: their line and column.

Python's ``json`` and the libraries around it keep no positions of single values. This scanner reads
text that ``json`` has accepted, so it checks nothing.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from campaign_model._json import tokens_of

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


class Position(NamedTuple):
    """A place in a text, both counted from 1. Columns are code points, as editors count them."""

    line: int
    column: int


class JsonPositions:
    """Finds the position of a JSON Pointer in ``text``, which is valid JSON."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._root = _scan(text)

    def find(self, pointer: str, *, of_name: bool = False) -> Position:
        """Return the position of a value, or of the name before it in its object.

        A pointer to something that is not there, such as a missing member, has the position of
        the object or array that lacks it.
        """
        place = self._root
        offset = place.offset
        for name in tokens_of(pointer):
            if name not in place.members:
                return self._position(place.offset)
            place = place.members[name]
            offset = place.name_offset if of_name else place.offset
        return self._position(offset)

    def _position(self, offset: int) -> Position:
        line_start = self._text.rfind("\n", 0, offset) + 1
        return Position(self._text.count("\n", 0, offset) + 1, offset - line_start + 1)


class _Place(NamedTuple):
    """The offsets of a value and of its name, and the places in it by name or index."""

    offset: int
    name_offset: int
    members: dict[str, _Place]


def _scan(text: str) -> _Place:
    """Return the place of the whole value, with the places of the values in it, at any depth.

    The name of an element of an array is its index. Of two equal names, the last one counts. A
    stack instead of recursion allows any depth.
    """
    outside = _Place(0, 0, {})  # Its only member is the whole value.
    stack = [(outside, False)]  # The objects and arrays around the next part; is it an object?
    name: str | None = None
    name_offset = 0
    for match in _TOKEN.finditer(text):
        part, offset = match[0], match.start()
        around, is_object = stack[-1]
        if part in ":,":
            continue
        if part in "]}":
            stack.pop()
        elif is_object and name is None:
            name, name_offset = json.loads(part), offset
        else:
            if name is None:
                name, name_offset = str(len(around.members)), offset
            place = around.members[name] = _Place(offset, name_offset, members={})
            name = None
            if part in "[{":
                stack.append((place, part == "{"))
    return outside.members["0"]
