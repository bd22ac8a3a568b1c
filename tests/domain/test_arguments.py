"""Values and functions of the domain refuse malformed user input with ``InvalidArgument``.

``tests/store/test_arguments.py`` does the same for the methods of the store.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import product, repeat
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import campaign_model
from campaign_model import lifecycle
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.claims import Claim, Cursor, Failed, Generated, NotReady, Unfinished
from campaign_model.db.adoption.legacy_database import Options
from campaign_model.errors import InvalidArgument
from campaign_model.lifecycle import Action, Facts, Status
from campaign_model.steps import Step, StepSequence
from campaign_model.validation import document_schema
from campaign_model.vocabulary import STANDARD, Channel, Vocabulary
from campaign_model.wire import iter_violations
from support.strategies import copies

ID = UUID(int=1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEFORE_YEAR_1 = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
EMAIL = Step("email", "E-mail")
STEPS = StepSequence([EMAIL, Step("email", "Second")])
HUGE = 10**5000
"""Python refuses to write so many digits."""

# Words, as a program reads them from JSON.
DRAFT: Any = "draft"
APPROVE: Any = "approve"
PENDING: Any = "pending"
CLAIM: Any = "claim"


def claim(**fields: Any) -> Claim:
    ids = {"id": ID, "campaign_id": ID, "contact_id": ID, "token": ID}
    rest = {"expires_at": NOON, "attempts": 1, "revision": 0, "steps_fingerprint": "f" * 64}
    return Claim(**{**ids, **rest, **fields})


Call = Callable[[Any], object]

REFUSED: list[tuple[str, Call, list[Any]]] = [
    ("key", STEPS.by_key, ["", "s3", None, 5, "x" * 100_000, "\ud800"]),
    ("key", STEPS.remove, ["", "s3", None, HUGE]),
    ("key", lambda key: STEPS.update(key, label="x"), ["", "s3", None, []]),
    ("key", lambda key: STEPS.update("s1", key=key), ["s1", None]),  # type: ignore[call-arg]
    ("key", lambda key: STEPS.move(key, 1), ["", "s3", None]),
    ("position", lambda position: STEPS.move("s1", position), [0, -1, 3, HUGE, 1.5, "1", None]),
    ("position", lambda position: STEPS.insert(position, EMAIL), [0, -1, 4, HUGE, math.nan, True]),
    ("action", lifecycle.sources, ["", "me", None, 5, []]),
    ("action", lifecycle.target, ["", "me", None, 5, []]),
    ("action", lambda word: lifecycle.why_not(DRAFT, word, Facts()), ["", "me", None, {}]),
    ("source", lambda word: lifecycle.why_not(word, APPROVE, Facts()), ["", "me", None, {}]),
    ("action", lambda word: lifecycle.apply(DRAFT, word, Facts()), ["", "me", None, HUGE]),
    ("source", lambda word: lifecycle.apply(word, APPROVE, Facts()), ["", "me", None, HUGE]),
    ("source", lambda word: lifecycle.actions(word, Facts()), ["", "me", None]),
    ("permission", lambda word: lifecycle.check_permission(word, DRAFT), ["", "me", None]),
    ("status", lambda word: lifecycle.check_permission(CLAIM, word), ["", "me", None]),
    ("source", lambda word: lifecycle.apply_contact(word, CLAIM, None), ["", "me", None]),
    ("action", lambda word: lifecycle.apply_contact(PENDING, word, None), ["", "me", None]),
    ("id", lambda id_: Campaign("C", id=id_), ["", "me", "\0", "\ud800", "x" * 100_000]),
    ("owner_id", lambda id_: Campaign("C", owner_id=id_), ["", "me"]),
    ("template_id", lambda id_: Campaign("C", template_id=id_), ["", "me"]),
    ("status", lambda word: Campaign("C", status=word), ["", "me", None, 5]),
    ("id", lambda id_: CampaignTemplate("T", STEPS, id=id_), ["", "me"]),
    (
        "datetime",
        lambda moment: Campaign("C", created_at=moment),
        [datetime(2026, 1, 1), BEFORE_YEAR_1],  # noqa: DTZ001
    ),
    *(
        (name, lambda id_, name=name: claim(**{name: id_}), ["", "me"])
        for name in ("id", "campaign_id", "contact_id", "token")
    ),
    ("rank", Cursor, [2**63, -(2**63) - 1, "1", None, 1.5, HUGE]),
    ("cost", Generated, [Decimal(-1), Decimal("NaN"), Decimal("1E-10"), HUGE]),
    ("code", lambda text: Failed(text, "message", None), ["", None, 5, "\0", "\ud800"]),
    ("message", lambda text: Failed("code", text, None), ["", None, 5, "\0", "\ud800"]),
    ("gaps", NotReady, [(), [], [""], [5], ["\0"], ["x" * 201], ["x"] * 1001, repeat("x")]),
    (
        "campaign_contact_id",
        lambda id_: STEPS.slots()[0].message_id(id_, 1),
        ["", "me", "\0", "x" * 100_000],
    ),
    ("permission", lambda word: lifecycle.is_permitted(word, DRAFT), ["", "me", None]),
    ("status", lambda word: lifecycle.is_permitted(CLAIM, word), ["", "me", None]),
    ("status", lifecycle.permissions, ["", "me", None]),
    ("retry_after", Unfinished, [timedelta(-1), timedelta.max, timedelta.min]),
    ("name", Channel, ["", "A", "a b", 5, None, "\ud800", "a" * 41]),
    ("channels", lambda channels: Vocabulary(channels, ("casual",)), [(), (Channel("a"),) * 2]),
    ("tones", STANDARD.with_tone, ["", 5, "\0", "\ud800", "x" * 41]),
    ("name", document_schema, ["", "me", "../x", "\0"]),
    ("name", lambda kind: iter_violations([], kind), ["", "me"]),
    ("status_map", lambda status: Options(status_map={"sent": status}), ["", "me", None]),
    ("status_rule", lambda status: Options(status_rule={"sent": status}), ["", "me", None]),
    ("status_rule", lambda case: Options(status_rule={case: "draft"}), ["", "me", None]),
]


@pytest.mark.parametrize(
    ("argument", "call", "values"),
    REFUSED,
    ids=[f"{index}-{argument}" for index, (argument, _, _) in enumerate(REFUSED)],
)
def test_malformed_input_is_refused_with_the_name_of_the_argument(
    argument: str, call: Call, values: list[Any]
) -> None:
    for value in values:
        with pytest.raises(InvalidArgument) as caught:
            call(value)
        error = caught.value
        assert (error.argument, error.code, error.http_status) == (
            argument,
            "invalid_argument",
            422,
        )
        assert 10 < len(str(error)) < 500
        assert str(error).isprintable()
        for copied in copies(error):
            assert copied.to_dict() == error.to_dict()


PROGRAM_MISTAKES: list[Call] = [
    lambda wrong: Campaign("C", id=wrong),
    lambda wrong: Campaign("C", steps=wrong),
    lambda wrong: Campaign("C", generation_config=wrong),
    lambda wrong: CampaignTemplate("T", wrong),
    lambda wrong: StepSequence([wrong]),
    lambda wrong: STEPS.insert(1, wrong),
    lambda wrong: claim(token=wrong),
    lambda wrong: STEPS.slots()[0].message_id(wrong, 1),
    lambda wrong: claim(expires_at=wrong),
    Unfinished,
    Generated,
]


def test_a_value_of_a_wrong_type_is_a_mistake_of_the_program() -> None:
    for call, wrong in product(PROGRAM_MISTAKES, (1.5, str(uuid4()), b"me", object())):
        with pytest.raises(TypeError):
            call(wrong)


def test_words_of_the_lifecycle_may_be_plain_text() -> None:
    """A refused action has the same error, whichever way its words were written."""
    by_words = lifecycle.why_not(DRAFT, APPROVE, Facts())
    by_members = lifecycle.why_not(Status.DRAFT, Action.APPROVE, Facts())
    assert by_words is not None
    assert by_members is not None
    assert by_words.to_dict() == by_members.to_dict()
    assert by_words.allowed == ("mark_ready", "delete")


BARE = {
    "answers.py": "cattrs: `wire` turns it into InvalidDocument",
    "cli/contacts_csv.py": "a row of a file: its reader turns it into a RowFault",
    "converter.py": "cattrs: `wire` turns it into InvalidDocument",
    "db/engine.py": "an engine that the program chose",
    "store/connection.py": "a connection that the program chose",
    "store/types.py": "an amount that no value type let pass",
}
"""Modules that raise Python's own errors for wrong values, and why."""


def test_no_other_module_raises_a_bare_error_for_a_wrong_value() -> None:
    package = Path(campaign_model.__file__).parent
    bare = re.compile(r"raise (ValueError|KeyError|IndexError|LookupError|OverflowError)\b")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if bare.search(path.read_text(encoding="utf-8"))
    }
    assert {name for name in found if not name.startswith("testing/")} == BARE.keys()
