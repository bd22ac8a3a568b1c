"""The library's values as types of fields of pydantic models, and of FastAPI endpoints.

This module has a type for each value that a service gets or answers with, named like the value::

    from campaign_model.pydantic import GenerationConfig, StepSequence

    class NewCampaign(pydantic.BaseModel):
        name: str
        steps: StepSequence
        generation_config: GenerationConfig

The value of a field is the library's own value. A field accepts such a value, or exactly its JSON:
steps, settings and a step as submitted documents, every other value as its ``to_dict()`` returns it
(docs/json.md), and a template in both forms. Nothing is converted to another type. Each violation
of a refused document becomes an error of pydantic, with the place as ``loc``, the code as ``type``
and the sentence as ``msg``. ``model_dump(mode="json")`` writes what ``to_dict()`` returns. The JSON
Schemas are the published ones, without references.

:class:`JsonForm` makes such a type with another vocabulary:
``Annotated[campaign_model.StepSequence, JsonForm(codec)]``.

Needs the extra ``pydantic``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, get_origin

import attrs
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import (
    CoreSchema,
    InitErrorDetails,
    PydanticCustomError,
    ValidationError,
    core_schema,
)

from campaign_model import answers, campaign, claims, errors, generation_config, lifecycle, steps
from campaign_model._answer import json_ready
from campaign_model._json import follow
from campaign_model.validation import answer_schema, whole_schema
from campaign_model.wire import DEFAULT, KINDS, Codec

__all__ = [
    "ActionState",
    "Assigned",
    "Campaign",
    "CampaignContact",
    "CampaignModelError",
    "CampaignSummary",
    "CampaignTemplate",
    "Changed",
    "Estimate",
    "GenerationConfig",
    "HistoryEntry",
    "JsonForm",
    "MessageSlot",
    "Move",
    "Overlap",
    "Page",
    "Progress",
    "Removed",
    "Repair",
    "ReviewTally",
    "SequenceDiff",
    "Skipped",
    "Step",
    "StepSequence",
    "Violation",
]

Item = TypeVar("Item")


@attrs.frozen
class JsonForm:
    """Annotation that lets pydantic read and write a type of this library as JSON.

    ``codec`` knows the channels and tones that submitted steps and settings may contain.
    """

    codec: Codec = DEFAULT

    def __get_pydantic_core_schema__(
        self, source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        type_ = _without_annotations(source)

        def describe(_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
            return self._schema(type_, is_input=handler.mode == "validation")

        return core_schema.no_info_plain_validator_function(
            self._reader(type_),
            # The name of the type in OpenAPI, and a number that tells codecs apart.
            ref=f"campaign_model.{answers.name_of(type_)}:{id(self.codec)}",
            serialization=core_schema.plain_serializer_function_ser_schema(
                json_ready, when_used="json"
            ),
            metadata={"pydantic_js_functions": [describe]},
        )

    def _reader(self, type_: Any) -> Callable[[Any], Any]:
        """Return the function that accepts a value, or its JSON."""
        cls, items = get_origin(type_) or type_, get_args(type_)

        def read(source: Any) -> Any:
            if isinstance(source, cls) and (
                not items or all(isinstance(item, items) for item in source.items)
            ):
                return source
            try:
                return self.codec.converter.structure(source, type_)
            except errors.InvalidDocument as error:
                raise _validation_error(error, source) from None

        return read

    def _schema(self, type_: Any, *, is_input: bool) -> dict[str, Any]:
        """Return the JSON Schema of what the type reads, or of what it writes."""
        answer = answer_schema(answers.name_of(type_))
        if not is_input or type_ not in _KINDS:
            return answer
        document = whole_schema(_KINDS[type_], vocabulary=self.codec.vocabulary)
        for name in ("$id", "$schema"):
            del document[name]
        if type_ is campaign.CampaignTemplate:
            return {"title": answer["title"], "anyOf": [document, answer]}
        return (document["items"] if type_ is steps.Step else document) | {"title": answer["title"]}


_KINDS: dict[Any, str] = {**KINDS, steps.Step: "template_config"}
"""Types that are read from submitted documents, and the kind of the document."""


def _without_annotations(type_: Any) -> Any:
    """Return a type in which no part is ``Annotated``, such as ``Page[Campaign]``."""
    if get_origin(type_) is Annotated:
        return _without_annotations(get_args(type_)[0])
    if get_origin(type_) is None:
        return type_
    return get_origin(type_)[tuple(map(_without_annotations, get_args(type_)))]


def _validation_error(error: errors.InvalidDocument, document: Any) -> ValidationError:
    """Return the error of pydantic with all violations of ``document``."""
    details = []
    for violation in error.violations:
        location, value = follow(violation.path, document)
        details.append(
            InitErrorDetails(
                type=PydanticCustomError(violation.code, violation.message),
                loc=location,
                input=value,
            )
        )
    return ValidationError.from_exception_data(error.document, details)


StepSequence: TypeAlias = Annotated[steps.StepSequence, JsonForm()]
Step: TypeAlias = Annotated[steps.Step, JsonForm()]
GenerationConfig: TypeAlias = Annotated[generation_config.GenerationConfig, JsonForm()]
Campaign: TypeAlias = Annotated[campaign.Campaign, JsonForm()]
CampaignSummary: TypeAlias = Annotated[campaign.CampaignSummary, JsonForm()]
CampaignTemplate: TypeAlias = Annotated[campaign.CampaignTemplate, JsonForm()]
CampaignContact: TypeAlias = Annotated[campaign.CampaignContact, JsonForm()]
Page: TypeAlias = Annotated[campaign.Page[Item], JsonForm()]
Progress: TypeAlias = Annotated[claims.Progress, JsonForm()]
Estimate: TypeAlias = Annotated[claims.Estimate, JsonForm()]
ActionState: TypeAlias = Annotated[lifecycle.ActionState, JsonForm()]
HistoryEntry: TypeAlias = Annotated[campaign.HistoryEntry, JsonForm()]
ReviewTally: TypeAlias = Annotated[lifecycle.ReviewTally, JsonForm()]
Assigned: TypeAlias = Annotated[campaign.Assigned, JsonForm()]
Skipped: TypeAlias = Annotated[campaign.Skipped, JsonForm()]
Changed: TypeAlias = Annotated[campaign.Changed, JsonForm()]
Removed: TypeAlias = Annotated[campaign.Removed, JsonForm()]
Move: TypeAlias = Annotated[campaign.Move, JsonForm()]
Overlap: TypeAlias = Annotated[campaign.Overlap, JsonForm()]
MessageSlot: TypeAlias = Annotated[steps.MessageSlot, JsonForm()]
SequenceDiff: TypeAlias = Annotated[steps.SequenceDiff, JsonForm()]
Repair: TypeAlias = Annotated[campaign.Repair, JsonForm()]
Violation: TypeAlias = Annotated[errors.Violation, JsonForm()]
CampaignModelError: TypeAlias = Annotated[errors.CampaignModelError, JsonForm()]
