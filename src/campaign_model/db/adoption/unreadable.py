"""Find the values that the library cannot read: documents, names and descriptions.

No SQL can find them, because the library's own types decide. Of a document, ``explain_unreadable``
also finds the bad members: without them, the library can read the rest of the document. The
quarantine takes these members.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from campaign_model._json import follow
from campaign_model.campaign import Campaign
from campaign_model.db.checks import DOCUMENT_COLUMNS
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.steps import MAX_STEPS, new_key
from campaign_model.wire import decode_stored, recover_generation_config, recover_template_config

Path = tuple[Any, ...]
"""The place of a member: names, and indexes of lists."""


def explain_unreadable(table: str, rows: Iterable[Sequence[Any]]) -> tuple[dict[str, str], str]:
    """Find the values that the library cannot read.

    Return the reason for each of them, by ``id/column``, and the parameter ``unreadable`` of the
    SQL (see :mod:`campaign_model.db.adoption.legacy_database`).

    ``rows`` have an id, a name, a description, and the steps and settings as JSON text (``None`` if
    there are none). The columns of the steps and settings have other names in campaigns than in
    templates.

    A document is unreadable if even the ``recover_*`` functions refuse it. They accept everything
    that they can repair, such as missing fields, unknown channels and JSON in a JSON string.
    """
    reasons: dict[str, str] = {}
    bad_members: dict[str, list[list[str]]] = {}
    steps_column, settings_column = DOCUMENT_COLUMNS[table]
    for row_id, name, description, steps, settings in rows:
        readers: tuple[tuple[str, str | None, str, Callable[[Any], object]], ...] = (
            (steps_column, steps, "template_config", recover_template_config),
            (settings_column, settings, "generation_config", recover_generation_config),
        )
        for column, text, kind, recover in readers:
            try:
                if text is not None:
                    recover(text)
            except InvalidDocument as error:
                reasons[f"{row_id}/{column}"] = str(error)
                bad_members[f"{row_id}/{column}"] = _find_bad_members(text or "", kind, recover)
        try:
            # Made only to check the two texts. Campaigns and templates have the same limits.
            Campaign(name=name, description=description)
        except InvalidDocument as error:
            for violation in error.violations:
                reasons[f"{row_id}{violation.path}"] = violation.message
    return reasons, json.dumps({key: bad_members.get(key, []) for key in reasons})


def _find_bad_members(text: str, kind: str, recover: Callable[[Any], object]) -> list[list[str]]:
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
    # Two paths first differ below the same parent, so an index is not compared with a name.
    return [[*map(str, path)] for path in sorted(paths, reverse=True)]


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
