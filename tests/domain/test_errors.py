"""Every error has a stable code, an HTTP status, a sentence and JSON-ready data; all pickle."""

from __future__ import annotations

import json
import traceback
from typing import Any
from uuid import UUID

import pytest

from campaign_model import errors
from campaign_model.errors import (
    CampaignModelError,
    Conflict,
    InvalidArgument,
    InvalidDocument,
    LeaseLost,
    NotFound,
    TransactionAborted,
    TransitionNotAllowed,
    Unmet,
    Violation,
)
from campaign_model.lifecycle import Action, Status
from support.strategies import copies

ID = UUID("00000000-0000-0000-0000-00000000000a")
OTHER = UUID("00000000-0000-0000-0000-00000000000b")

Example = tuple[CampaignModelError, str, int, str, dict[str, Any]]

# Each error with its code, HTTP status, sentence and data. Codes and statuses are a contract.
EXAMPLES: dict[str, Example] = {
    "invalid": (
        InvalidDocument(
            "template_config",
            (
                Violation("/2/channel", "unknown_channel", "steps[2].channel: no such channel"),
                Violation("", "too_many_items", "steps: 21 steps are more than the 20 allowed"),
            ),
        ),
        "invalid_document",
        422,
        (
            "template_config is not valid: steps[2].channel: no such channel; "
            "steps: 21 steps are more than the 20 allowed"
        ),
        {
            "document": "template_config",
            "violations": [
                {
                    "path": "/2/channel",
                    "code": "unknown_channel",
                    "message": "steps[2].channel: no such channel",
                },
                {
                    "path": "",
                    "code": "too_many_items",
                    "message": "steps: 21 steps are more than the 20 allowed",
                },
            ],
        },
    ),
    "argument": (
        InvalidArgument("action", "action is one of a, b, not 'c'", ("a", "b")),
        "invalid_argument",
        422,
        "action is one of a, b, not 'c'",
        {"argument": "action", "allowed": ["a", "b"]},
    ),
    "wrong-status": (
        TransitionNotAllowed(
            Status.DRAFT,
            Action.APPROVE,
            (Action.MARK_READY, Action.DELETE),
            (Status.REVIEW,),
        ),
        "transition_not_allowed",
        409,
        (
            "approve is not allowed in status draft, only in: review. "
            "Actions in status draft: mark_ready, delete."
        ),
        {
            "source": "draft",
            "action": "approve",
            "allowed": ["mark_ready", "delete"],
            "legal_from": ["review"],
            "unmet": [],
        },
    ),
    "no-actions": (
        TransitionNotAllowed(Status.ARCHIVED, Action.EXPORT, (), (Status.APPROVED,)),
        "transition_not_allowed",
        409,
        (
            "export is not allowed in status archived, only in: approved. "
            "Actions in status archived: none."
        ),
        {
            "source": "archived",
            "action": "export",
            "allowed": [],
            "legal_from": ["approved"],
            "unmet": [],
        },
    ),
    "unmet": (
        TransitionNotAllowed(
            Status.DRAFT,
            Action.MARK_READY,
            (Action.MARK_READY, Action.DELETE),
            (Status.DRAFT,),
            (Unmet("one", "enable a step"), Unmet("two", "assign some contacts")),
        ),
        "transition_not_allowed",
        409,
        "mark_ready is not possible yet: enable a step; assign some contacts",
        {
            "source": "draft",
            "action": "mark_ready",
            "allowed": ["mark_ready", "delete"],
            "legal_from": ["draft"],
            "unmet": [
                {"guard": "one", "message": "enable a step"},
                {"guard": "two", "message": "assign some contacts"},
            ],
        },
    ),
    "not-found": (
        NotFound("template", (ID, OTHER)),
        "not_found",
        404,
        f"found no template with id {ID}, {OTHER}; check the id and the tenant",
        {"kind": "template", "ids": [str(ID), str(OTHER)]},
    ),
    "conflict": (
        Conflict("stale_version", "the campaign was changed since you loaded it; load it again"),
        "conflict",
        409,
        "the campaign was changed since you loaded it; load it again",
        {"reason": "stale_version"},
    ),
    "lease-lost": (
        LeaseLost((ID,)),
        "lease_lost",
        409,
        (
            f"lost the lease of 1 campaign contact(s): {ID}; "
            "another worker took them over, or they were released; stop work on them"
        ),
        {"ids": [str(ID)]},
    ),
    "transaction-aborted": (
        TransactionAborted("the code caught an error"),
        "transaction_aborted",
        500,
        (
            "nothing was written, because the transaction cannot be committed: "
            "the code caught an error"
        ),
        {"reason": "the code caught an error"},
    ),
}


@pytest.fixture(params=list(EXAMPLES.values()), ids=list(EXAMPLES))
def example(request: pytest.FixtureRequest) -> Example:
    chosen: Example = request.param
    return chosen


def test_every_error_class_has_an_example() -> None:
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert classes == {CampaignModelError} | {type(example[0]) for example in EXAMPLES.values()}


def test_an_error_has_its_published_code_and_http_status(example: Example) -> None:
    error, code, status, _, _ = example
    assert (error.code, error.http_status) == (code, status)
    assert (type(error).code, type(error).http_status) == (code, status)


def test_the_text_of_an_error_says_what_is_wrong_and_what_to_do(example: Example) -> None:
    error, _, _, sentence, _ = example
    assert str(error) == sentence
    assert sentence in "".join(traceback.format_exception(error))


def test_to_dict_returns_json_with_the_code_the_message_and_the_data(example: Example) -> None:
    error, code, _, sentence, data = example
    assert json.loads(json.dumps(error.to_dict())) == {"code": code, "message": sentence, **data}


def test_to_dict_contains_plain_strings_only(example: Example) -> None:
    """No member of an enumeration: YAML and msgpack writers refuse subclasses of ``str``."""

    def leaves(value: Any) -> list[type]:
        if isinstance(value, dict):
            return [leaf for member in value.values() for leaf in leaves(member)]
        if isinstance(value, list):
            return [leaf for member in value for leaf in leaves(member)]
        return [type(value)]

    assert set(leaves(example[0].to_dict())) == {str}


def test_a_copied_or_pickled_error_has_the_same_text_and_data(example: Example) -> None:
    error = example[0]
    for copied in copies(error):
        assert type(copied) is type(error)
        assert copied is not error
        assert str(copied) == str(error)
        assert copied.to_dict() == error.to_dict()
        assert vars(copied) == vars(error)


def test_a_copied_error_can_be_raised_caught_as_the_base_class_and_annotated(
    example: Example,
) -> None:
    error = copies(example[0])[0]
    with pytest.raises(CampaignModelError) as caught:
        raise error
    assert caught.value is error
    error.add_note("while exporting")
    assert error.__notes__ == ["while exporting"]


def test_two_errors_with_the_same_data_are_not_equal() -> None:
    """Exceptions compare by identity. Equal ones would be merged in sets."""
    first, second = LeaseLost((ID,)), LeaseLost((ID,))
    assert first != second
    assert len({first, second}) == 2


def test_the_base_class_has_a_code_a_message_and_an_http_status() -> None:
    error = CampaignModelError("the disk is full")
    assert error.to_dict() == {"code": "error", "message": "the disk is full"}
    assert error.http_status == 500


def test_violation_and_unmet_are_immutable_values() -> None:
    for value in (Violation("/0", "code", "words"), Unmet("guard", "words")):
        for copied in copies(value):
            assert copied == value
            assert hash(copied) == hash(value)
        with pytest.raises(AttributeError):
            value.message = "other words"  # type: ignore[misc]
        assert not hasattr(value, "__dict__")
    assert Violation("/0", "code", "words").to_dict() == {
        "path": "/0",
        "code": "code",
        "message": "words",
    }
