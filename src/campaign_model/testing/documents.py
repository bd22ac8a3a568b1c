"""Hypothesis strategies for JSON documents. Each function returns a strategy.

``kind`` is template_config, generation_config or campaign_template. ``form`` is ``submitted``
(what callers send) or ``stored`` (what databases contain). Other values raise ``KeyError``. Every
drawn document is a new object that a test may change.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model.campaign import MAX_NAME
from campaign_model.generation_config import GENERATION_FIELDS
from campaign_model.steps import (
    STEP_FIELDS,
)
from campaign_model.testing import _parts
from campaign_model.testing._document_faults import document_faults, finished
from campaign_model.vocabulary import STANDARD, Vocabulary

__all__ = [
    "KINDS",
    "NAMES",
    "STRANGE",
    "Invalid",
    "any_document",
    "changed",
    "invalid",
    "legacy",
    "valid",
]

Documents = SearchStrategy[Any]

_FORMS = ("submitted", "stored")


def _vocabulary_of(form: str, vocabulary: Vocabulary) -> Vocabulary | None:
    """Return the vocabulary for submitted documents, ``None`` for stored ones."""
    return dict(zip(_FORMS, (vocabulary, None), strict=True))[form]


def _template_config(vocabulary: Vocabulary | None, min_size: int = 0) -> Documents:
    # A submitted document has at least one step; a stored one may have none.
    min_steps = min_size if vocabulary is None else 1
    steps = _parts.steps(vocabulary, min_steps, 4, filled=True)
    return steps if vocabulary is None else _parts.built(_parts.numbered, steps)


def _campaign_template(vocabulary: Vocabulary | None, min_size: int = 0) -> Documents:
    required = {
        "id": _parts.ids.map(str),
        "name": _parts.names("Three e-mails", MAX_NAME),
        "steps": _template_config(vocabulary, min_size),
    }
    config = {"generation_config": _parts.settings(vocabulary)}
    optional = {"description": _parts.descriptions}
    if vocabulary is None:
        return _parts.objects(required, optional | config)
    return _parts.objects(required | config, optional)


_VALID: dict[str, Callable[..., Documents]] = {
    "template_config": _template_config,
    "generation_config": lambda vocabulary, _min_size=0: _parts.settings(vocabulary),
    "campaign_template": _campaign_template,
}

KINDS = tuple(_VALID)
"""The kinds of documents."""


def valid(
    kind: str, form: str = "submitted", *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[Any]:
    """Draw valid documents.

    Submitted documents use channels and tones of ``vocabulary`` and may have fields that begin with
    ``x_``. Stored documents may also lack optional fields, have wrong step numbers, and have
    unknown channels, tones and fields. Some have 20 steps.
    """
    return _VALID[kind](_vocabulary_of(form, vocabulary))


def legacy(kind: str) -> SearchStrategy[Any]:
    """Draw documents as older services stored them: the JSON value of a column.

    Each is a stored document, or a JSON string that contains one as JSON text, perhaps twice. To
    read one with :func:`~campaign_model.recover_template_config`, pass ``json.dumps(document)``.
    """
    return _parts.built(_encoded, st.sampled_from([0, 0, 1, 2]), valid(kind, "stored"))


def _encoded(times: int, document: Any) -> Any:
    for _ in range(times):
        document = json.dumps(document)
    return document


class Invalid(NamedTuple):
    """A document with exactly one fault, the JSON Pointer to the fault and its stable code.

    ``document`` is JSON text if only text can have the fault, and a JSON value otherwise.
    """

    document: Any
    path: str
    code: str


def invalid(
    kind: str, form: str = "submitted", *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[Invalid]:
    """Draw documents with exactly one fault, together with the violation that it causes.

    Every code that can refuse a document of this kind and form is drawn equally often, including
    codes of faults that only text can have (a duplicate member, text that is not JSON).
    """
    own_vocabulary = _vocabulary_of(form, vocabulary)
    faults_by_code = [*document_faults(kind, own_vocabulary).values()]

    def put_fault(which: int, where: int, document: Any, last: int) -> Invalid:
        # The sum of several picks chooses the code: Hypothesis often varies only one pick.
        faults = faults_by_code[(which + where + last) % len(faults_by_code)]
        code, put = faults[which % len(faults)]
        document, path = put(document, where)
        return Invalid(finished(document), path, code)

    documents = _VALID[kind](own_vocabulary, 1)
    return _parts.built(put_fault, _parts.picks, _parts.picks, documents, _parts.picks)


STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, 4, -1, 1.0, 0.5, 20, 21, 365, 366, 2**53, 2**53 + 1, 10**400),
    *("", "5", "1", "true", " ", "\n", "x", "email", "emial", "EMAIL", "email\n", "a b", "s2", "é"),
    *("always", "no response", "casual", "cassual", "en", "en\n", "e", "en_US", "1.5", "-1", "1e3"),
    *("01", "1.0000000001", "1000000000", "9" * 400, "NaN", "\0", "\ud800", "[]", "{}", "null"),
    *("k" * 40, "k" * 41, "l" * 200, "l" * 201, "n" * 500, "n" * 501, "i" * 10_000, "i" * 10_001),
    *("a0000000-0000-0000-0000-000000000001", "A0000000-0000-0000-0000-000000000001"),
    *([], {}, [[]], [{}], {"x_a": 1}, {"step": 1}, {"channel": "email"}),
    *(float("nan"), float("inf")),
)
"""Replacements for members: near misses of every type and limit."""

NAMES = (
    *STEP_FIELDS,
    *GENERATION_FIELDS,
    *("id", "name", "description", "steps", "generation_config", "x_", "X_", "lable", "\0"),
)
"""Names of members and near misses of them."""

_strange = st.one_of(
    st.sampled_from(range(len(STRANGE))).map(lambda index: copy.deepcopy(STRANGE[index])),
    _parts.json_values(),
)
_strange_names = st.one_of(st.sampled_from(NAMES), _parts.texts())
_changes = st.sampled_from(["replace", "replace", "remove", "add", "double", "move"])
_times = st.sampled_from([1, 2, 25])


def _places_in(document: Any) -> list[tuple[Any, Any]]:
    """Return every place within ``document`` as (parent, name or index), outermost first."""
    places: list[tuple[Any, Any]] = []
    queue = [document]
    for value in queue:
        tokens = [*value] if isinstance(value, dict) else range(len(value))
        places += ((value, token) for token in tokens)
        queue += (value[token] for token in tokens if isinstance(value[token], dict | list))
    return places


@st.composite
def _changed(draw: st.DrawFn, documents: SearchStrategy[Any]) -> Any:
    document = draw(documents)
    places = _places_in(document) if isinstance(document, dict | list) else []
    if not places:
        return draw(_strange)
    parent, token = places[draw(_parts.picks) % len(places)]
    change = draw(_changes)
    if change == "replace":
        parent[token] = draw(_strange)
    elif change == "remove":
        del parent[token]
    elif isinstance(parent, dict):
        parent[draw(_strange_names)] = draw(_strange)
    elif change == "double":
        parent += copy.deepcopy([parent[token]] * draw(_times))
    else:
        parent.insert(0, parent.pop(token))
    return document


def changed(documents: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Draw ``documents`` and replace, remove, add, duplicate or move one part of each.

    Some results are still valid; most are invalid in unexpected ways.
    """
    return _changed(documents)


def any_document(kind: str, *, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Any]:
    """Draw valid documents, documents with one or two changes, and other JSON values."""
    submitted, stored = (valid(kind, form, vocabulary=vocabulary) for form in _FORMS)
    return st.one_of(
        submitted,
        stored,
        changed(submitted),
        changed(stored),
        changed(changed(submitted | stored)),
        _strange,
    )
