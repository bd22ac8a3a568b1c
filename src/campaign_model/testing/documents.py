"""Hypothesis strategies for JSON documents. Each public function returns a strategy.

The argument ``kind`` is template_config, generation_config or campaign_template. The argument
``form`` is ``submitted`` (what callers send) or ``stored`` (what databases contain). Other values
of these arguments raise ``KeyError``. Every drawn document is a new object that a test may change.
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
from campaign_model.steps import STEP_FIELDS
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
    """Return the vocabulary of a form: for stored documents ``None``, which allows any words."""
    return dict(zip(_FORMS, (vocabulary, None), strict=True))[form]


def _template_config(vocabulary: Vocabulary | None, min_size: int = 0) -> Documents:
    # A submitted document has at least one step; a stored document may have none.
    min_steps = min_size if vocabulary is None else 1
    steps = _parts.steps(vocabulary, min_steps, 4, filled=True)
    return steps if vocabulary is None else _parts.built(_parts.numbered, steps)


def _campaign_template(vocabulary: Vocabulary | None, min_size: int = 0) -> Documents:
    """Draw templates with at least ``min_size`` steps: in the stored form without a vocabulary.

    A stored template may lack its settings, and its optional members may be null.
    """
    required = {
        "id": _parts.ids.map(str),
        "name": _parts.names("Three e-mails", MAX_NAME),
        "steps": _template_config(vocabulary, min_size),
    }
    config = {"generation_config": _parts.settings(vocabulary)}
    optional = {"description": _parts.descriptions}
    if vocabulary is None:
        return _parts.objects(required, _parts.or_absent(optional | config, [None]))
    return _parts.objects(required | config, optional)


# By kind: a function of a vocabulary (``None`` for the stored form) and the least number of steps.
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
    ``x_``. Stored documents may also lack optional fields or have null or ``""`` in their place,
    have wrong step numbers, long labels and tones, and unknown channels, tones and fields. Some
    have 20 steps.
    """
    return _VALID[kind](_vocabulary_of(form, vocabulary))


def legacy(kind: str) -> SearchStrategy[Any]:
    """Draw documents as older services stored them: the JSON value of a column.

    Each is a stored document, or a JSON string whose text is a stored document, encoded once or
    twice. To read it with :func:`~campaign_model.recover_template_config`, pass
    ``json.dumps(document)``.
    """
    return _parts.built(_encoded, st.sampled_from([0, 0, 1, 2]), valid(kind, "stored"))


def _encoded(times: int, document: Any) -> Any:
    """Encode the document ``times`` times as a JSON string."""
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
    codes of faults that only text can have (a duplicate member, text that is not JSON). No document
    is too large.
    """
    own_vocabulary = _vocabulary_of(form, vocabulary)
    faults_by_code = [*document_faults(kind, own_vocabulary).values()]

    def put_fault(which: int, where: int, document: Any, last: int) -> Invalid:
        # Hypothesis often varies only one of the three numbers. Then their sum varies, too.
        faults = faults_by_code[(which + where + last) % len(faults_by_code)]
        code, put = faults[which % len(faults)]
        document, path = put(document, where)
        return Invalid(finished(document), path, code)

    # Many faults need a step to be in.
    documents = _VALID[kind](own_vocabulary, 1)
    return _parts.built(put_fault, _parts.picks, _parts.picks, documents, _parts.picks)


STRANGE: tuple[Any, ...] = (
    *(None, True, False),
    *(0, 1, 2, 3, 4, -1, 1.0, 0.5, 20, 21, 365, 366, 2**53, 2**53 + 1, 10**400),
    *("", "5", "1", "true", " ", "\n", "x", "a b", "é", "\0", "\ud800"),
    # JSON text, channels, other words, languages, amounts.
    *("[]", "{}", "null", "NaN"),
    *("email", "emial", "EMAIL", "email\n"),
    *("s2", "always", "no response", "casual", "cassual"),
    *("en", "en\n", "e", "en_US"),
    *("1.5", "-1", "1e3", "01", "1.0000000001", "1000000000", "9" * 400),
    # The longest texts, and texts that are too long.
    *("k" * 40, "l" * 200, "n" * 500, "i" * 10_000),
    *("k" * 41, "l" * 201, "n" * 501, "i" * 10_001),
    *("a0000000-0000-0000-0000-000000000001", "A0000000-0000-0000-0000-000000000001"),
    *([], [[]], [{}]),
    *({}, {"x_a": 1}, {"step": 1}, {"channel": "email"}),
    *(float("nan"), float("inf")),
)
"""Values that replace members: right and nearly right values of every type and at every limit."""

NAMES = (
    *STEP_FIELDS,
    *GENERATION_FIELDS,
    *("id", "name", "description", "steps", "generation_config"),
    *("x_", "X_", "lable", "\0"),
)
"""Names of members, and names that are nearly right."""

_strange = st.one_of(
    st.sampled_from(range(len(STRANGE))).map(lambda index: copy.deepcopy(STRANGE[index])),
    _parts.json_values(),
)
_strange_names = st.one_of(st.sampled_from(NAMES), _parts.texts())
_changes = st.sampled_from(["replace", "replace", "remove", "add", "double", "move"])
_times = st.sampled_from([1, 2, 25])  # A sequence with 25 more steps is too long.


def _places_in(document: Any) -> list[tuple[Any, Any]]:
    """Return every place within ``document`` as (parent, name or index), outermost first."""
    places: list[tuple[Any, Any]] = []
    queue = [document]
    # The loop also visits the values that it appends.
    for value in queue:
        tokens = [*value] if isinstance(value, dict) else range(len(value))
        places += ((value, token) for token in tokens)
        queue += (value[token] for token in tokens if isinstance(value[token], dict | list))
    return places


def changed(documents: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Draw ``documents`` and replace, remove, add, duplicate or move one part of each.

    Some of the changed documents are still valid. Most are invalid in unexpected ways.
    """

    def recipe(draw: st.DrawFn) -> Any:
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
            # The other changes are for lists. In an object, each of them adds a member.
            parent[draw(_strange_names)] = draw(_strange)
        elif change == "double":
            parent += copy.deepcopy([parent[token]] * draw(_times))
        else:
            parent.insert(0, parent.pop(token))
        return document

    return _parts.composed(recipe)


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
