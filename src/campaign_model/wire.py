"""Documents to values and back: what callers submit, what databases hold.

The value types judge what a field may hold, this module how fields stand in a document.
:mod:`campaign_model.validation` says what is wrong with a document that is refused, and is loaded
only then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from uuid import UUID

import attrs

from campaign_model._json import (
    EMPTY,
    Fault,
    JsonObject,
    fault_in,
    faults_in,
    quick_loads,
    read,
    same_member,
    thaw,
)
from campaign_model._usual import usual_steps
from campaign_model._values import MONEY_PATTERN, money_text
from campaign_model.campaign import CampaignTemplate, Repair
from campaign_model.errors import InvalidDocument, Violation
from campaign_model.generation_config import GENERATION_DEPTH, GENERATION_FIELDS, GenerationConfig
from campaign_model.steps import (
    STEP_DEPTH,
    STEP_FIELDS,
    Step,
    StepSequence,
    effective_key,
)
from campaign_model.vocabulary import STANDARD, Vocabulary

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = [
    "DEFAULT",
    "UUID_PATTERN",
    "Codec",
    "Recovered",
    "dump_campaign_template",
    "dump_generation_config",
    "dump_template_config",
    "iter_stored_violations",
    "iter_violations",
    "parse_campaign_template",
    "parse_generation_config",
    "parse_template_config",
    "recover_campaign_template",
    "recover_generation_config",
    "recover_template_config",
]

V = TypeVar("V")

UUID_PATTERN = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
"""An id as documents write it; the whole text has to match."""

# A codec's cache of submitted documents, and the one cache of each kind of stored ones.
_CACHED_TEXTS = 512
_LONGEST_CACHED_TEXT = 32_768

_is_money = re.compile(MONEY_PATTERN).fullmatch
_is_uuid = re.compile(UUID_PATTERN).fullmatch

_STEP_TYPES: dict[str, type] = {
    "step": int,
    "channel": str,
    "label": str,
    "enabled": bool,
    "needs_pdf": bool,
    "variant_count": int,
    "key": str,
    "day_offset": int,
    "condition": str,
    "config": dict,
}
_GENERATION_TYPES: dict[str, type] = {
    "tone": str,
    "language": str,
    "custom_instructions": str,
    "default_variant_count": int,
    "budget": str,
}
_TEMPLATE_TYPES: dict[str, type] = {
    "id": str,
    "name": str,
    "description": str,
    "steps": list,
    "generation_config": dict,
}
_NO_SETTINGS = GenerationConfig()
_STEP_REQUIRED = {"channel", "label", "enabled", "needs_pdf", "variant_count"}
_STEP_ATTRIBUTES = attrs.fields_dict(Step)
# How deep the kinds of document stand within the largest of them.
_DEPTHS = {
    "template_config": STEP_DEPTH - 1,
    "generation_config": GENERATION_DEPTH,
    "campaign_template": 0,
}


@attrs.frozen
class Recovered(Generic[V]):
    """A value read from a stored document, and what the document needed for that.

    Without ``repairs``, dumping the value gives the document again.
    """

    value: V
    repairs: tuple[Repair, ...]


class _RefusedError(Exception):
    """The document is not in order. What is wrong with it is for validation to say."""


def _refuse_unless(holds: object) -> None:
    if not holds:
        raise _RefusedError


def _members(document: Any, types: dict[str, type]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The members of an object that are known, each of its exact type, and all others."""
    if type(document) is not dict:
        raise _RefusedError
    known, others = {}, {}
    for name, value in document.items():
        wanted = types.get(name)
        if wanted is None:
            others[name] = value
        elif type(value) is wanted:
            known[name] = value
        else:
            raise _RefusedError
    return known, others


# The readers read stored documents. A submitted one is a stored one that needs no repairs, says
# only what the vocabulary knows, and leaves unknown fields to those who may add them.


def _read_step(document: Any, position: int, repairs: list[Repair]) -> Step:
    known, extra = _members(document, _STEP_TYPES)
    number = known.pop("step", None)
    if number != position or not known.keys() >= _STEP_REQUIRED:
        _repair_step(known, number, position, repairs)
    return Step(**known, extra=extra or EMPTY)


def _repair_step(
    known: dict[str, Any], number: int | None, position: int, repairs: list[Repair]
) -> None:
    _refuse_unless("channel" in known)
    index = position - 1
    if number is None:
        repairs.append(_defaulted(f"/{index}/step", f"steps[{index}].step", position))
    elif number != position:
        _refuse_unless(number >= 1 and fault_in(number) is None)
        message = f"steps[{index}].step: was {number}; it is {position} by its place"
        repairs.append(Repair(f"/{index}/step", "renumbered", message))
    # A step by its channel alone gets what a Step made in Python gets, and its channel's name.
    title = known["channel"].replace("_", " ").capitalize()
    for name in sorted(_STEP_REQUIRED - known.keys(), key=STEP_FIELDS.index):
        known[name] = title if name == "label" else _STEP_ATTRIBUTES[name].default
        repairs.append(_defaulted(f"/{index}/{name}", f"steps[{index}].{name}", known[name]))


def _defaulted(path: str, place: str, value: Any) -> Repair:
    return Repair(path, "defaulted", f"{place}: was missing; it is {json.dumps(value)} now")


def _read_template_config(document: Any, repairs: list[Repair]) -> StepSequence:
    usual = usual_steps(document)
    if usual is not None:
        return usual
    _refuse_unless(type(document) is list)
    return StepSequence(
        [_read_step(step, index + 1, repairs) for index, step in enumerate(document)]
    )


def _read_generation_config(document: Any, _repairs: list[Repair]) -> GenerationConfig:
    known, extra = _members(document, _GENERATION_TYPES)
    if "budget" in known:
        _refuse_unless(_is_money(known["budget"]))
        known["budget"] = Decimal(known["budget"])
    return GenerationConfig(**known, extra=extra or EMPTY)


def _read_campaign_template(document: Any, repairs: list[Repair]) -> CampaignTemplate:
    known, others = _members(document, _TEMPLATE_TYPES)
    _refuse_unless(not others and known.keys() >= {"id", "name", "steps"} and _is_uuid(known["id"]))
    within: list[Repair] = []
    steps = _read_template_config(known["steps"], within)
    repairs += (attrs.evolve(repair, path=f"/steps{repair.path}") for repair in within)
    if "generation_config" not in known:
        repairs.append(_defaulted("/generation_config", "generation_config", {}))
    return CampaignTemplate(
        id=UUID(known["id"]),
        name=known["name"],
        description=known.get("description"),
        steps=steps,
        generation_config=_read_generation_config(known.get("generation_config", {}), repairs),
        repairs=tuple(repairs),
    )


_READERS: dict[str, Callable[[Any, list[Repair]], Any]] = {
    "template_config": _read_template_config,
    "generation_config": _read_generation_config,
    "campaign_template": _read_campaign_template,
}

_REFUSALS = (_RefusedError, InvalidDocument)


def _load(source: Any) -> Any:
    try:
        return quick_loads(source) if isinstance(source, str) else source
    except (ValueError, RecursionError):
        raise _RefusedError from None


def _read(source: Any, kind: str) -> tuple[Any, list[Fault]]:
    depth = _DEPTHS[kind]
    return read(source, depth) if isinstance(source, str) else (source, [*faults_in(source, depth)])


def _error(kind: str, violations: tuple[Violation, ...]) -> InvalidDocument:
    if not violations:
        raise RuntimeError(f"campaign_model refuses a {kind} without knowing why; this is its bug")
    return InvalidDocument(kind, violations)


@attrs.frozen
class Codec:
    """Reads and writes documents in the words of one vocabulary. Immutable and shared freely.

    A ``source`` is JSON text if it is a ``str``, and otherwise a JSON value as ``json.loads``
    gives it. Equal text gives the same value, from a bounded cache.
    """

    vocabulary: Vocabulary = STANDARD

    def __reduce__(self) -> tuple[type[Codec], tuple[Vocabulary]]:
        return Codec, (self.vocabulary,)

    def parse_template_config(
        self, source: Any, *, previous: StepSequence | None = None
    ) -> StepSequence:
        """The steps of a submitted template_config.

        Unknown fields are refused unless they begin with ``x_``. What stands in ``previous``, the
        steps that were given out before, may come back as it is, in the step of the same key:
        unknown fields and channels, and no steps at all. Raises :class:`InvalidDocument` with
        every violation.
        """
        return cast("StepSequence", self._parse("template_config", source, previous))

    def parse_generation_config(
        self, source: Any, *, previous: GenerationConfig | None = None
    ) -> GenerationConfig:
        """The settings of a submitted generation_config; as :meth:`parse_template_config`."""
        return cast("GenerationConfig", self._parse("generation_config", source, previous))

    def parse_campaign_template(
        self, source: Any, *, previous: CampaignTemplate | None = None
    ) -> CampaignTemplate:
        """The template of a submitted campaign_template; as :meth:`parse_template_config`.

        Its own fields are all there are: databases have no place for others, so that not even
        those that begin with ``x_`` may stand beside them.
        """
        return cast("CampaignTemplate", self._parse("campaign_template", source, previous))

    def recover_template_config(self, source: Any) -> Recovered[StepSequence]:
        """The steps of a stored template_config, whoever wrote it.

        Unknown fields and channels are kept, absent optional fields get their defaults, wrong
        step numbers are put right, JSON text within a JSON string is read. Raises
        :class:`InvalidDocument` with every violation of the stored form.
        """
        recovered: Recovered[StepSequence] = _recover(self, "template_config", source)
        return recovered

    def recover_generation_config(self, source: Any) -> Recovered[GenerationConfig]:
        """The settings of a stored generation_config; as :meth:`recover_template_config`."""
        recovered: Recovered[GenerationConfig] = _recover(self, "generation_config", source)
        return recovered

    def recover_campaign_template(self, source: Any) -> Recovered[CampaignTemplate]:
        """The template of a stored campaign_template; as :meth:`recover_template_config`.

        It has no unknown fields of its own either; those of its steps and settings are kept.
        """
        recovered: Recovered[CampaignTemplate] = _recover(self, "campaign_template", source)
        return recovered

    def dump_template_config(self, value: StepSequence) -> list[dict[str, Any]]:
        """``value`` as fresh JSON, its steps numbered from 1."""
        return [_dump_step(step, index + 1) for index, step in enumerate(value)]

    def dump_generation_config(self, value: GenerationConfig) -> dict[str, Any]:
        """``value`` as fresh JSON."""
        document = {
            name: member
            for name in GENERATION_FIELDS
            if (member := getattr(value, name)) is not None
        }
        if value.budget is not None:
            document["budget"] = money_text(value.budget)
        return {**document, **thaw(value.extra)}

    def dump_campaign_template(self, value: CampaignTemplate) -> dict[str, Any]:
        """``value`` as fresh JSON: what it says, not how a database keeps it."""
        return {
            "id": str(value.id),
            "name": value.name,
            **({} if value.description is None else {"description": value.description}),
            "steps": self.dump_template_config(value.steps),
            "generation_config": self.dump_generation_config(value.generation_config),
        }

    def violations(
        self,
        source: Any,
        name: str = "template_config",
        *,
        previous: StepSequence | GenerationConfig | CampaignTemplate | None = None,
    ) -> tuple[Violation, ...]:
        """Every fault of a submitted document, in its order; none if it would be parsed.

        ``name`` is the kind of document: template_config, generation_config or
        campaign_template. ``previous`` is as in :meth:`parse_template_config`.
        """
        document, faults = _read(source, name)
        return self._explain(document, faults, name, "submitted", previous)

    def stored_violations(
        self, source: Any, name: str = "template_config"
    ) -> tuple[Violation, ...]:
        """Every fault of a stored document, in its order; none if it would be recovered."""
        document, faults = _read(source, name)
        while isinstance(document, str):
            inner, inner_faults = _read(document, name)
            if ("", "not_json") in {fault[:2] for fault in inner_faults}:
                break
            document, faults = inner, inner_faults
        return self._explain(document, faults, name, "stored")

    def schema(self, name: str) -> dict[str, Any]:
        """The JSON Schema (2020-12) of a submitted document, with this vocabulary's words.

        It is in one piece: the schemas that campaign_template refers to stand in its ``$defs``.
        """
        from campaign_model.validation import document_schema  # noqa: PLC0415 - loads jsonschema

        return document_schema(name, "submitted", self.vocabulary)

    @cached_property
    def converter(self) -> Converter:
        """A cattrs converter for classes that hold our types: it reads and writes these as we do.

        A step by itself is read and written as the only one of its sequence.
        """
        from cattrs import Converter  # noqa: PLC0415 - only for those who ask for it

        def step(document: Any) -> Step:
            return self.parse_template_config([document])[0]

        types: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
            StepSequence: (self.parse_template_config, self.dump_template_config),
            GenerationConfig: (self.parse_generation_config, self.dump_generation_config),
            CampaignTemplate: (self.parse_campaign_template, self.dump_campaign_template),
            Step: (step, lambda value: _dump_step(value, 1)),
        }
        converter = Converter()
        for type_, (parse, dump) in types.items():
            converter.register_structure_hook(type_, partial(_structure, parse))
            converter.register_unstructure_hook(type_, dump)
        return converter

    def _parse(self, kind: str, source: Any, previous: Any) -> Any:
        try:
            if previous is None and type(source) is str and len(source) <= _LONGEST_CACHED_TEXT:
                return self._parsed(kind, source)
            return self._read_submitted(kind, source, previous)
        except _REFUSALS:
            raise _error(kind, self.violations(source, kind, previous=previous)) from None

    @cached_property
    def _parsed(self) -> Callable[[str, str], Any]:
        return lru_cache(_CACHED_TEXTS)(partial(self._read_submitted, previous=None))

    @cached_property
    def _channels(self) -> frozenset[str]:
        return frozenset(channel.name for channel in self.vocabulary.channels)

    def _read_submitted(self, kind: str, source: Any, previous: Any) -> Any:
        repairs: list[Repair] = []
        value = _READERS[kind](_load(source), repairs)
        _refuse_unless(not repairs and self._admits(value, previous))
        return value

    def _admits(self, value: Any, previous: Any) -> bool:
        if isinstance(value, StepSequence):
            return (bool(value) or value == previous) and all(
                self._admits_step(step, _before(previous, step, index))
                for index, step in enumerate(value.steps)
            )
        if isinstance(value, GenerationConfig):
            before = _NO_SETTINGS if previous is None else previous
            known = value.tone in (None, before.tone) or value.tone in self.vocabulary.tones
            return known and _may_stand(value.extra, before.extra)
        return all(
            self._admits(getattr(value, part), previous and getattr(previous, part))
            for part in ("steps", "generation_config")
        )

    def _admits_step(self, step: Step, before: Step | None) -> bool:
        if before is None:
            return step.channel in self._channels and _may_stand(step.extra, EMPTY)
        known = step.channel == before.channel or step.channel in self._channels
        return known and _may_stand(step.extra, before.extra)

    def _explain(
        self, document: Any, faults: Iterable[Fault], kind: str, form: str, previous: Any = None
    ) -> tuple[Violation, ...]:
        from campaign_model.validation import violations  # noqa: PLC0415 - loads jsonschema

        return violations(
            document, faults, kind, form, vocabulary=self.vocabulary, previous=previous
        )


def _read_stored(kind: str, source: Any) -> Recovered[Any]:
    document, repairs = _load(source), []
    while isinstance(document, str):
        document = _load(document)
        repairs = [Repair("", "double_encoded", f"{kind}: was JSON text within a JSON string")]
    return Recovered(_READERS[kind](document, repairs), tuple(repairs))


_recovered = {kind: lru_cache(_CACHED_TEXTS)(partial(_read_stored, kind)) for kind in _READERS}


def _recover(codec: Codec, kind: str, source: Any) -> Any:
    try:
        # Written out in few calls: text that was read before comes far more often than any other.
        if type(source) is str and len(source) <= _LONGEST_CACHED_TEXT:
            return _recovered[kind](source)
        return _read_stored(kind, source)
    except _REFUSALS:
        raise _error(kind, codec.stored_violations(source, kind)) from None


def _before(previous: StepSequence | None, step: Step, index: int) -> Step | None:
    if previous is None:
        return None
    key = effective_key(step.key, index)
    return previous.by_key(key) if key in previous.keys else None


def _may_stand(extra: JsonObject, before: JsonObject) -> bool:
    return all(name.startswith("x_") or same_member(before, name, extra[name]) for name in extra)


def _dump_step(step: Step, position: int) -> dict[str, Any]:
    document: dict[str, Any] = {"step": position}
    for name in STEP_FIELDS[1:]:
        member = getattr(step, name)
        if member is not None:
            document[name] = thaw(member) if name == "config" else member
    if step.condition is not None:
        document["condition"] = step.condition.value
    return {**document, **thaw(step.extra)}


def _structure(parse: Callable[[Any], Any], document: Any, _type: type) -> Any:
    # Within a larger document a str is a JSON string, which none of these is, and not JSON text.
    return parse(json.dumps(document) if isinstance(document, str) else document)


DEFAULT = Codec()
"""The codec of the standard vocabulary; the functions of this package are its methods."""

parse_template_config = DEFAULT.parse_template_config
parse_generation_config = DEFAULT.parse_generation_config
parse_campaign_template = DEFAULT.parse_campaign_template
recover_template_config = DEFAULT.recover_template_config
recover_generation_config = DEFAULT.recover_generation_config
recover_campaign_template = DEFAULT.recover_campaign_template
dump_template_config = DEFAULT.dump_template_config
dump_generation_config = DEFAULT.dump_generation_config
dump_campaign_template = DEFAULT.dump_campaign_template


def iter_violations(
    source: Any,
    name: str = "template_config",
    *,
    previous: StepSequence | GenerationConfig | CampaignTemplate | None = None,
) -> Iterator[Violation]:
    """:meth:`Codec.violations` of the default codec, one by one."""
    yield from DEFAULT.violations(source, name, previous=previous)


def iter_stored_violations(source: Any, name: str = "template_config") -> Iterator[Violation]:
    """:meth:`Codec.stored_violations` of the default codec, one by one."""
    yield from DEFAULT.stored_violations(source, name)
