"""Reading and writing documents: what callers submit, and what databases contain.

A :class:`Codec` reads and writes documents with one vocabulary. The functions of this module are
the methods of ``DEFAULT``, the codec of the standard vocabulary. A document is read in steps:

1. Decode the text, and refuse a document that is too large (:mod:`campaign_model._json`).
2. If the caller passes the version that was edited (``previous``), write keys into the steps of a
   submitted document that have none.
3. Convert the document into a value with cattrs (:mod:`campaign_model.converter`). If that refuses
   a stored document, repair it (:mod:`campaign_model.forms`) and try again.
4. Refuse a submitted document with restricted parts (:mod:`campaign_model.forms`).
5. If it was refused, list every violation with jsonschema (:mod:`campaign_model.validation`).

A document is refused if and only if it has violations. cattrs and jsonschema are loaded when they
are first needed.

Values that were made from short texts are kept in caches (:mod:`campaign_model._caches`): one for
each kind of stored document, and one for each kind of submitted document and each codec.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache, cached_property, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import attrs

from campaign_model._answer import json_ready
from campaign_model._caches import BoundedCache
from campaign_model._json import Fault, decode, excess
from campaign_model._values import checked_number
from campaign_model.campaign import Campaign, CampaignTemplate, Repair
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.forms import PARTS, Previous, is_unchanged, repaired, restricted_parts
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import MAX_STEPS, Step, StepSequence, effective_key, match_keys, new_key
from campaign_model.vocabulary import STANDARD, Vocabulary

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")
V = TypeVar("V")
_Converter = TypeVar("_Converter", bound="Converter")

# Bounds of each cache: the bytes of all texts, and the characters of one text.
_CACHED_BYTES = 1_048_576
_LONGEST_CACHED_TEXT = 32_768

KINDS: dict[type, str] = {
    StepSequence: "template_config",
    GenerationConfig: "generation_config",
    CampaignTemplate: "campaign_template",
}
"""The kind of document of each value type."""


@attrs.frozen
class Recovered(Generic[V]):
    """The value of a stored document, and every repair that the document needed.

    If there are no ``repairs``, dumping the value gives the document again.
    """

    value: V
    repairs: tuple[Repair, ...]


def decode_stored(source: Any, kind: str) -> tuple[Any, list[Fault], list[Repair]]:
    """Decode JSON text within a JSON string too, and report that as a repair."""
    document, faults = decode(source)
    repairs: list[Repair] = []
    while isinstance(document, str):
        inner, inner_faults = decode(document)
        if inner_faults and inner_faults[0][1] == "not_json":
            break  # The string is only a text.
        document, faults = inner, inner_faults
        repairs = [Repair("", "double_encoded", f"{kind}: was JSON text within a JSON string")]
    return document, faults, repairs


@cache
def _converter() -> ModuleType:
    from campaign_model import converter  # noqa: PLC0415 - loads cattrs

    return converter


def _read_answer(document: Any, cls: Any) -> Any:
    """Return the value whose ``to_dict()`` is the document, or raise :class:`InvalidDocument`."""
    from campaign_model import answers  # noqa: PLC0415 - loads cattrs

    try:
        return answers.ANSWERS.structure(document, cls)
    except _converter().REFUSALS:
        name = answers.name_of(cls)
        message = f"{name}: this is not exactly what to_dict() of a {name} returns"
        violations: tuple[Violation, ...] = ()
        if name in answers.NAMES:  # It has a JSON schema, which may say more.
            violations = _violations(name, "answer", document, ())
        raise InvalidDocument(
            name, violations or (Violation("", "invalid_value", message),)
        ) from None


def _violations(kind: str, *arguments: Any) -> tuple[Violation, ...]:
    """Call :func:`campaign_model.validation.violations`."""
    from campaign_model.validation import violations  # noqa: PLC0415 - loads jsonschema

    return violations(kind, *arguments)


def _invalid(kind: str, *arguments: Any) -> InvalidDocument:
    """Make the error for a refused document, with its ``_violations``."""
    violations = _violations(kind, *arguments)
    if not violations:
        raise RuntimeError(f"campaign_model refuses a {kind} without a reason; please report this")
    return InvalidDocument(kind, violations)


def _converted(document: Any, cls: type[V]) -> V | None:
    """Return the value of a document, or ``None`` if the converter refuses it."""
    converter = _converter()
    try:
        return cast("V", converter.CONVERTER.structure(document, cls))
    except converter.REFUSALS:
        return None


def _with_keys(document: Any, previous: Previous) -> Any:
    """Write keys into the steps of a document that edits ``previous``. Return the document.

    A step without a key gets the key of the step of ``previous`` that it matches
    (:func:`campaign_model.steps.match_keys`), or else a new key.

    A document without steps, or with too many, is returned unchanged. A document is also returned
    unchanged if its steps without a key match steps of ``previous`` without a key at the same
    positions: a step without a key of its own has the key of its position.
    """
    # 1. Find the steps of the document that have no key.
    if isinstance(previous, CampaignTemplate):
        if type(document) is not dict or "steps" not in document:
            return document
        return {**document, "steps": _with_keys(document["steps"], previous.steps)}
    if (
        not isinstance(previous, StepSequence)
        or type(document) is not list
        or len(document) > MAX_STEPS
    ):
        return document
    own_keys = [_own_key(step) for step in document]
    if None not in own_keys:
        return document
    # 2. Match them with the steps of ``previous``.
    keys = match_keys(
        own_keys,
        [step.get("channel") if type(step) is dict else None for step in document],
        [
            _converted(step, Step) if key is None else None
            for key, step in zip(own_keys, document, strict=True)
        ],
        previous,
    )
    # 3. Change nothing if their positions give them the right keys.
    keys_from_positions = {
        key for key, step in zip(previous.keys, previous, strict=True) if step.key is None
    }
    if all(
        own_key is not None or (key in keys_from_positions and key == effective_key(None, index))
        for index, (own_key, key) in enumerate(zip(own_keys, keys, strict=True))
    ):
        return document
    # 4. Write the keys.
    return [
        {**step, "key": key or new_key()} if own_key is None else step
        for own_key, key, step in zip(own_keys, keys, document, strict=True)
    ]


def _schema_is_text(document: Any) -> bool:
    """Return False if a ``$schema`` in settings or in a template is something else than text."""
    if type(document) is not dict:
        return True
    settings = document.get("generation_config")
    return type(document.get("$schema", "")) is str and _schema_is_text(settings)


def _own_key(step: Any) -> Any:
    """Return the ``key`` of a decoded step, or ``None`` if it is absent.

    ``""`` stands for null, and for the key of a step that is no object.
    """
    if type(step) is not dict:
        return ""
    return (step["key"] or "") if "key" in step else None


def _dumped(value: Any, cls: type) -> Any:
    """Return a value as JSON. Raise ``TypeError`` if it is not of the type ``cls``."""
    if not isinstance(value, cls):
        raise TypeError(f"this is a {type(value).__name__}, not a {cls.__name__}")
    document = _converter().CONVERTER.unstructure(value)
    # A document that is written must be readable, so it has the same limits.
    if (fault := excess(document)) is not None:
        _, code, message = fault
        kind = KINDS[cls]
        raise InvalidDocument(kind, (Violation("", code, f"{kind}: {message}"),))
    return document


def _read_stored(cls: type[V], source: Any) -> Recovered[V]:
    """Decode and convert a stored document. If it is refused, repair it and try again."""
    kind = KINDS[cls]
    document, faults, repairs = decode_stored(source, kind)
    value = _converted(document, cls)
    if value is None:
        repaired_document, more_repairs = repaired(kind, document)
        repairs += more_repairs
        value = _converted(repaired_document, cls)
    if value is None:
        raise _invalid(kind, "stored", document, faults)
    if isinstance(value, CampaignTemplate):
        value = attrs.evolve(value, repairs=tuple(repairs))
    return Recovered(value, tuple(repairs))


def _new_caches() -> dict[type, BoundedCache[str, Any]]:
    return {cls: BoundedCache(_CACHED_BYTES) for cls in KINDS}


_stored_caches = _new_caches()
"""Caches of stored documents. All codecs share them, because a vocabulary changes nothing here."""


def _cached(
    cache: BoundedCache[str, T], read: Callable[[type[V], Any], T], cls: type[V], source: Any
) -> T:
    """Return ``read(cls, source)``, from the cache if it was read from the same text before."""
    value = cache.get(source) if type(source) is str else None
    if value is None:
        value = read(cls, source)
        if type(source) is str and len(source) <= _LONGEST_CACHED_TEXT:
            cache.keep(source, value, sys.getsizeof(source))
    return value


def _positive(_codec: object, attribute: Any, value: Any) -> None:
    checked_number(value, 1, 2**63 - 1, attribute.name)


@attrs.frozen
class Codec:
    """Reads and writes documents with one vocabulary. Immutable, and safe to share.

    A ``source`` is JSON text if it is a ``str``, otherwise a JSON value as ``json.loads`` returns
    it; bytes are a ``TypeError``. Equal text gives the same value, from a bounded cache.

    A submitted document of more than ``max_bytes`` bytes is refused. For a JSON value, the
    characters of all texts and member names count. Both forms have at most 10,000 members and 64
    levels. Raises :class:`InvalidArgument` if ``max_bytes`` is not a whole number above 0.
    """

    vocabulary: Vocabulary = STANDARD
    max_bytes: int = attrs.field(default=1_000_000, validator=_positive)

    def parse_template_config(
        self, source: Any, *, previous: StepSequence | None = None
    ) -> StepSequence:
        """Return the steps of a submitted template_config.

        Unknown channels are refused. Unknown fields are refused unless their names begin with
        ``x_``. ``previous`` are the steps that the caller was given before: an unknown channel or
        field of one of them is accepted in the step with the same key, unchanged.

        A step without a key gets the key of the previous step with the same content. If there is
        none, it gets the key of the previous step at the same place, if that has the same channel.
        Otherwise it is new, and gets a new key. Raises :class:`InvalidDocument` with every
        violation.
        """
        return self._parse(StepSequence, source, previous)

    def parse_generation_config(
        self, source: Any, *, previous: GenerationConfig | None = None
    ) -> GenerationConfig:
        """Return the settings of a submitted generation_config.

        ``previous`` and errors are as in :meth:`parse_template_config`.
        """
        return self._parse(GenerationConfig, source, previous)

    def parse_campaign_template(
        self, source: Any, *, previous: CampaignTemplate | None = None
    ) -> CampaignTemplate:
        """Return the template of a submitted campaign_template.

        A template itself has no unknown fields, not even with ``x_``: no table has a place for
        them. ``previous`` and errors are as in :meth:`parse_template_config`.
        """
        return self._parse(CampaignTemplate, source, previous)

    def recover_template_config(self, source: Any) -> Recovered[StepSequence]:
        """Return the steps of a stored template_config, and the repairs that it needed.

        Unknown fields and channels are kept. Missing fields get their defaults, wrong step
        numbers are corrected, JSON text within a JSON string is decoded. Raises
        :class:`InvalidDocument` with every violation of the stored form.
        """
        cache = _stored_caches[StepSequence]
        return _cached(cache, _read_stored, StepSequence, source)

    def recover_generation_config(self, source: Any) -> Recovered[GenerationConfig]:
        """Return the settings of a stored generation_config, as :meth:`recover_template_config`."""
        cache = _stored_caches[GenerationConfig]
        return _cached(cache, _read_stored, GenerationConfig, source)

    def recover_campaign_template(self, source: Any) -> Recovered[CampaignTemplate]:
        """Return the template of a stored campaign_template, as :meth:`recover_template_config`.

        Unknown fields of its steps and settings are kept; it has none of its own.
        """
        cache = _stored_caches[CampaignTemplate]
        return _cached(cache, _read_stored, CampaignTemplate, source)

    def dump_template_config(self, value: StepSequence) -> list[dict[str, Any]]:
        """Return the steps as fresh JSON, numbered from 1.

        Raises :class:`InvalidDocument` if the document would have more than 10,000 members.
        """
        return cast("list[dict[str, Any]]", _dumped(value, StepSequence))

    def dump_generation_config(self, value: GenerationConfig) -> dict[str, Any]:
        """Return the settings as fresh JSON. Errors are as in :meth:`dump_template_config`."""
        return cast("dict[str, Any]", _dumped(value, GenerationConfig))

    def dump_campaign_template(self, value: CampaignTemplate) -> dict[str, Any]:
        """Return the template as fresh JSON, without the columns that only a database has.

        Errors are as in :meth:`dump_template_config`.
        """
        return cast("dict[str, Any]", _dumped(value, CampaignTemplate))

    def violations(
        self, source: Any, name: str = "template_config", *, previous: Previous = None
    ) -> tuple[Violation, ...]:
        """List the violations of a submitted document, in document order.

        ``name`` is the kind of document: template_config, generation_config or
        campaign_template. ``previous`` is the value that the document replaces, as in
        :meth:`parse_template_config`. The list has at most as many violations as
        :class:`InvalidDocument` has.
        """
        document, faults = decode(source, self.max_bytes)
        document = _with_keys(document, previous)
        return _violations(name, "submitted", document, faults, self.vocabulary, previous)

    def stored_violations(
        self, source: Any, name: str = "template_config"
    ) -> tuple[Violation, ...]:
        """List the violations of a stored document, as :meth:`violations`."""
        document, faults, _ = decode_stored(source, name)
        return _violations(name, "stored", document, faults)

    def check_words(
        self,
        value: Campaign | CampaignTemplate,
        previous: Campaign | CampaignTemplate | None = None,
    ) -> None:
        """Raise :class:`InvalidDocument` for channels and tones that the vocabulary does not know.

        Words of ``previous`` may come back, as in :meth:`parse_template_config`. So a campaign with
        an old channel can still be renamed.
        """
        for kind, part in PARTS.items():
            new, before = getattr(value, part), getattr(previous, part, None)
            if any(code == "unknown_value" for code, _ in restricted_parts(new, self.vocabulary)):
                document = _dumped(new, type(new))
                violations = _violations(kind, "submitted", document, [], self.vocabulary, before)
                unknown = tuple(fault for fault in violations if fault.code == "unknown_value")
                if unknown:
                    raise InvalidDocument(kind, unknown)

    def schema(self, name: str) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of a submitted document, with this vocabulary's words.

        ``name`` is ``"template_config"``, ``"generation_config"`` or ``"campaign_template"``. The
        last refers to the other two, which are in its ``$defs``.
        """
        from campaign_model.validation import document_schema  # noqa: PLC0415 - loads jsonschema

        return document_schema(name, "submitted", self.vocabulary)

    @cached_property
    def converter(self) -> Converter:
        """A cattrs converter for your own classes that contain our types.

        Its hooks are those of :meth:`register_hooks`.
        """
        from cattrs import Converter  # noqa: PLC0415 - only for callers who use it

        return self.register_hooks(Converter())

    def register_hooks(self, converter: _Converter) -> _Converter:
        """Let a cattrs converter read and write our types, and return it.

        Use it for a converter of your own, such as that of ``cattrs.preconf.json``. Steps and
        settings are read and written exactly as by ``parse_*`` and ``dump_*``; a step by itself as
        the only step of a sequence. Any other value is written as by its ``to_dict()``, and is read
        from exactly that. A template is also read from a submitted campaign_template.
        """
        from campaign_model.answers import is_answer  # noqa: PLC0415 - loads cattrs

        def parse(document: Any, cls: type[V]) -> V:
            # Within a larger document a str is a JSON string, not JSON text.
            source = json.dumps(document) if isinstance(document, str) else document
            return self._parse(cls, source)

        def parse_template(document: Any, cls: Any) -> Any:
            is_stored = isinstance(document, dict) and "is_system" in document
            return (_read_answer if is_stored else parse)(document, cls)

        converter.register_structure_hook_func(is_answer, _read_answer)
        converter.register_unstructure_hook_func(is_answer, json_ready)
        converter.register_structure_hook(CampaignTemplate, parse_template)
        for document_type in (StepSequence, GenerationConfig):
            converter.register_structure_hook(document_type, parse)
            converter.register_unstructure_hook(document_type, partial(_dumped, cls=document_type))
        converter.register_structure_hook(Step, lambda step, _: parse([step], StepSequence)[0])
        converter.register_unstructure_hook(
            Step, lambda step: self.dump_template_config(StepSequence([step]))[0]
        )
        return converter

    @cached_property
    def _submitted_caches(self) -> dict[type, BoundedCache[str, Any]]:
        return _new_caches()

    def _parse(self, cls: type[V], source: Any, previous: Previous = None) -> V:
        if previous is not None:
            return self._read_submitted(cls, source, previous)
        value: V = _cached(self._submitted_caches[cls], self._read_submitted, cls, source)
        return value

    def _read_submitted(self, cls: type[V], source: Any, previous: Previous = None) -> V:
        """Decode and convert a submitted document, and refuse its restricted parts."""
        document, faults = decode(source, self.max_bytes)
        document = _with_keys(document, previous)
        value = _converted(document, cls) if _schema_is_text(document) else None
        if value is not None and all(
            is_unchanged(code, tokens, document, previous)
            for code, tokens in restricted_parts(value, self.vocabulary)
        ):
            return value
        raise _invalid(KINDS[cls], "submitted", document, faults, self.vocabulary, previous)


DEFAULT = Codec()
"""The codec of the standard vocabulary."""

parse_template_config: Final = DEFAULT.parse_template_config
parse_generation_config: Final = DEFAULT.parse_generation_config
parse_campaign_template: Final = DEFAULT.parse_campaign_template
recover_template_config: Final = DEFAULT.recover_template_config
recover_generation_config: Final = DEFAULT.recover_generation_config
recover_campaign_template: Final = DEFAULT.recover_campaign_template
dump_template_config: Final = DEFAULT.dump_template_config
dump_generation_config: Final = DEFAULT.dump_generation_config
dump_campaign_template: Final = DEFAULT.dump_campaign_template
iter_violations: Final = DEFAULT.violations
iter_stored_violations: Final = DEFAULT.stored_violations
