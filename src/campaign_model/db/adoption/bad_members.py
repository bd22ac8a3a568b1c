"""Find the members of a stored document that make it unreadable.

``find_bad_members`` returns their paths. If the members at these paths are removed, the library can
read the rest of the document. The caller moves them to the quarantine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from campaign_model._json import follow
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.steps import MAX_STEPS, new_key
from campaign_model.wire import decode_stored

Path = tuple[Any, ...]
"""The place of a member: names, and indexes of lists."""


def find_bad_members(text: str, kind: str, recover: Callable[[Any], object]) -> list[list[str]]:
    """Return the paths of the members to remove from a document that ``recover`` refuses.

    Of two elements of a list, the later one comes first, so the paths can be removed in this order.
    Return ``[]`` if the document must go as a whole. ``kind`` is the kind of the document.
    """
    document, _, _ = decode_stored(text, kind)
    paths: set[Path] = set()
    source: Any = text
    while True:
        try:
            recover(source)
        except InvalidDocument as error:
            found = _places(document, error.violations)
            # If a member was removed and its place is still bad, the object or list around it is.
            found = {path[:-1] if path in paths else path for path in found}
            if not found or () in found:
                return []
        else:
            break
        # To remove an object removes the members in it too.
        found = _without_inner(found)
        for path in found:
            _take_out(document, path)
        if isinstance(document, list):
            del document[MAX_STEPS:]
        paths = _without_inner(paths | found)
        source = document
    if isinstance(document, list):
        # After the removal, the other steps have new positions. A step without a key of its own
        # has the key of its position, which may be that of another step now.
        bad_indexes = {path[0] for path in paths if len(path) == 1}
        try:
            recover([step for index, step in enumerate(document) if index not in bad_indexes])
        except InvalidDocument:
            return []
    return [[*map(str, path)] for path in sorted(paths, key=_order, reverse=True)]


def _without_inner(paths: set[Path]) -> set[Path]:
    """Leave out the paths that begin with another path."""
    return {
        path for path in paths if not any(path[:length] in paths for length in range(1, len(path)))
    }


def _places(document: Any, violations: tuple[Violation, ...]) -> set[Path]:
    """Return the places of bad members. Return no place if the whole document is bad."""
    places: set[Path] = set()
    for violation in violations:
        if violation.code == "more_violations":
            continue
        if violation.code == "too_many_items":
            places |= {(index,) for index in range(MAX_STEPS, len(document))}
            continue
        path, _ = follow(violation.path, document)
        # A database reads only one of two members with the same name: the other would be lost.
        if not path or violation.code == "duplicate_member":
            return set()
        # A step without a channel is no step.
        is_channel = isinstance(document, list) and path[1:2] == ("channel",)
        places.add(path[:1] if is_channel else path)
    return places


def _take_out(document: Any, path: Path) -> None:
    """Remove a member of an object, or replace an element of a list.

    If a list lost an element, the indexes of later elements would change. A step is replaced by one
    that can be read.
    """
    parent: Any = document
    for token in path[:-1]:
        parent = parent[token]
    if not isinstance(parent, list):
        parent.pop(path[-1], None)
    elif parent is document:
        document[path[0]] = {"channel": "removed", "key": new_key()}
    else:
        parent[path[-1]] = None


def _order(path: Path) -> list[tuple[int, str]]:
    return [(token, "") if isinstance(token, int) else (0, token) for token in path]
