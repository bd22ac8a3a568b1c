from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Context, Decimal, Inexact, Rounded, localcontext
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from campaign_model import campaign as campaign_module
from campaign_model import claims as claims_module
from campaign_model import generation_config as config_module
from campaign_model import vocabulary as vocabulary_module
from campaign_model._json import JsonObject, fault_in, thaw
from campaign_model._values import (
    MONEY_PATTERN,
    exact_money,
    money,
    money_text,
    optional_text,
    utc,
)
from campaign_model.campaign import (
    MAX_DESCRIPTION,
    MAX_NAME,
    Assigned,
    Campaign,
    CampaignContact,
    CampaignSummary,
    CampaignTemplate,
    Changed,
    HistoryEntry,
    Move,
    Overlap,
    Page,
    Removed,
    Repair,
    Skipped,
    SkipReason,
)
from campaign_model.claims import (
    Claim,
    ClaimBatch,
    Cursor,
    Estimate,
    Failed,
    Generated,
    NotReady,
    Progress,
    Recorded,
    Renewal,
    StopReason,
    Unfinished,
)
from campaign_model.errors import InvalidDocument, short_repr
from campaign_model.generation_config import (
    GENERATION_FIELDS,
    MAX_INSTRUCTIONS,
    MAX_TONE_TEXT,
    GenerationConfig,
    effective_config,
)
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.steps import Step, StepSequence
from campaign_model.testing.strategies import generation_configs, json_objects, step_sequences
from campaign_model.vocabulary import STANDARD, Condition
from support.strategies import alike, copies

ID = UUID("00000000-0000-0000-0000-00000000000a")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - must be refused


class NoOffset(tzinfo):
    """A time zone without an offset: Python treats its datetimes as naive."""

    def utcoffset(self, _when: datetime | None) -> None:
        return None

    def dst(self, _when: datetime | None) -> None:
        return None

    def tzname(self, _when: datetime | None) -> str:
        return "nowhere"


# --- Money --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0.00144",
        "1E-9",
        "0.000000001",
        "999999999.999999999",
        "1.10",
        "1.100000000000000000000000000000000000000000",
        "0E-50",
        "0E+50",
        "1E+8",
        "123E+3",
    ],
)
def test_failure_22_money_is_kept_exactly_as_given(text: str) -> None:
    amount = Decimal(text)
    kept = money(amount)
    assert type(kept) is Decimal
    assert kept.as_tuple() == amount.as_tuple()


def test_money_is_a_decimal_or_an_int_and_nothing_is_coerced() -> None:
    assert money(5) == Decimal(5)
    assert type(money(5)) is Decimal
    others: list[Any] = [0.00144, 1.0, True, False, "1.5", None, Fraction(1, 2), [1]]
    for value in others:
        with pytest.raises(TypeError, match="money is a Decimal or an int"):
            money(value)


@pytest.mark.parametrize(
    "text",
    [
        "-0.01",
        "-1",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "1000000000",
        "1E+9",
        "1E+999999",
        "0.0000000001",
        "1E-10",
        "1.0000000001",
        "0.00000000099",
        "1.0000000000000000000000000000000000000001",
        "999999999.9999999999",
        "1E-999999",
    ],
)
def test_a_decimal_that_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="money"):
        money(Decimal(text))


decimals = st.builds(
    lambda sign, digits, exponent: Decimal((sign, tuple(digits), exponent)),
    st.integers(0, 1),
    st.lists(st.integers(0, 9), max_size=35),
    st.integers(-40, 10),
)


@given(decimals, st.integers(1, 40))
@example(Decimal("1.0000000000000000000000000000001"), 28)
@example(Decimal("1.1234567891"), 5)
@example(Decimal("-0"), 28)
def test_money_is_checked_exactly_and_never_rounded(amount: Decimal, precision: int) -> None:
    """The precision of the caller's decimal context does not matter."""
    exact = Fraction(amount)
    right = 0 <= exact < 10**9 and (exact * 10**9).denominator == 1
    with localcontext(Context(prec=precision, traps=[Inexact, Rounded])):
        try:
            kept = money(amount)
        except ValueError:
            assert not right
            return
        assert right
        assert Fraction(kept) == exact
        assert not kept.is_signed()


@given(decimals.map(abs) | st.decimals(0, 999_999_999, places=9))
@example(Decimal("0E+50"))
@example(Decimal("0E-50"))
@example(Decimal("1E+8"))
@example(Decimal("1.100000000000000000000000000000000000000000"))
def test_money_text_is_plain_digits_that_read_back_as_the_amount(amount: Decimal) -> None:
    try:
        kept = money(amount)
    except ValueError:
        assume(condition=False)
    text = money_text(kept)
    assert re.fullmatch(MONEY_PATTERN, text)
    assert Decimal(text) == kept
    assert money(Decimal(text)).as_tuple() == Decimal(text).as_tuple()


@given(st.lists(st.decimals(0, 999_999_999, places=9), max_size=8), st.integers(1, 30))
def test_failure_22_sums_of_money_are_exact_in_any_context(
    amounts: list[Decimal], precision: int
) -> None:
    with localcontext(Context(prec=precision)) as context:
        with exact_money():
            total = sum(amounts, start=Decimal(0))
        assert Fraction(total) == sum(map(Fraction, amounts))
        assert context.prec == precision  # The caller's context is restored.


def test_optional_text_accepts_none() -> None:
    assert optional_text(None, "reason") is None
    assert optional_text("words", "reason", 5) == "words"


# --- Points in time -----------------------------------------------------------------------------


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - as drawn
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
)
def test_a_datetime_is_converted_to_utc(moment: datetime, offset: timedelta) -> None:
    there = moment.replace(tzinfo=timezone(offset))
    kept = utc(there)
    assert kept == there
    assert kept.tzinfo is UTC
    assert kept.utcoffset() == timedelta(0)


@pytest.mark.parametrize("moment", [NAIVE, NAIVE.replace(tzinfo=NoOffset())], ids=["naive", "odd"])
def test_a_datetime_without_a_time_zone_is_refused(moment: datetime) -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        utc(moment)


def test_a_value_that_is_no_datetime_is_refused() -> None:
    others: list[Any] = [date(2026, 3, 1), "2026-03-01T12:00:00Z", 0]
    for value in others:
        with pytest.raises(TypeError, match="datetime is a datetime"):
            utc(value)


# --- Wrong values in messages -------------------------------------------------------------------


def test_a_long_value_is_shortened_in_a_message() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert short_repr("emial") == "'emial'"
    assert short_repr("x" * 78) == repr("x" * 78)
    assert short_repr("x" * 79) == "'" + "x" * 76 + "..."
    assert short_repr(10**5000) == "this int"
    assert short_repr(deep) == "[[[[...]]]]"


# --- Every value type ---------------------------------------------------------------------------

STEPS = StepSequence([Step("email", "Intro", config={"tone": "casual"})])
CONFIG = GenerationConfig(tone="casual", budget=Decimal("1.5"), extra={"x": [1]})
CLAIM = Claim(ID, ID, ID, ID, NOON, 1, 0, "f" * 64, Decimal("0.01"))
SUMMARY = CampaignSummary(
    ID, "Spring", Status.READY, True, None, None, 3, 1, Decimal("0.00144"), 0, 2, NOON, NOON
)
VALUES: list[Any] = [
    Campaign(
        "Spring",
        STEPS,
        CONFIG,
        "To old customers",
        owner_id=ID,
        template_id=ID,
        id=ID,
        status=Status.REVIEW,
        created_at=NOON,
        updated_at=NOON,
        generation_started_at=NOON,
        generation_completed_at=NOON,
    ),
    CampaignTemplate("Preset", STEPS, CONFIG, "A preset", ID, True, 3, NOON, NOON),
    SUMMARY,
    Page((SUMMARY,), "next"),
    HistoryEntry(NOON, Action.APPROVE, Status.REVIEW, Status.APPROVED, 5, "ann", None),
    Move(ID, ID, ID, 5, Action.APPROVE, Status.REVIEW, Status.APPROVED, "ann", None, NOON),
    Repair("/0/key", "defaulted", "key was missing"),
    CampaignContact(
        id=ID,
        campaign_id=ID,
        contact_id=ID,
        status=ContactStatus.GENERATED,
        enrichment_gaps=(),
        priority=0,
        attempts=1,
        revision=0,
        cost=Decimal("0.00144"),
        unknown_costs=0,
        error_code=None,
        error=None,
        stale=False,
        lease_expires_at=NOON,
        retry_at=NOON,
        added_at=NOON,
        generated_at=NOON,
        exported_at=NOON,
    ),
    Assigned(3, 1, (ID,)),
    Removed(3, (ID,)),
    Changed(3, (ID,)),
    Overlap(ID, ID, "Other", ContactStatus.PENDING, NOON),
    Skipped(ID, SkipReason.COOLDOWN, ID, "Other", NOON),
    CONFIG,
    CLAIM,
    ClaimBatch((CLAIM,), StopReason.BUDGET, NOON, NOON, Cursor(), STEPS, CONFIG),
    Cursor(7),
    Estimate(3, 6, Decimal("0.01")),
    Generated(Decimal("0.00144")),
    Failed("no_answer", "The model gave no answer.", None),
    NotReady(("email_address",)),
    Unfinished(timedelta(minutes=5)),
    Renewal(NOON, (ID,), cancelled=False),
    Progress(dict.fromkeys(ContactStatus, 1), Decimal(1), Decimal(0), 0, None, 1.5, 2.0),
    STANDARD,
    STANDARD.channels[0],
]


def test_every_public_value_type_has_an_example_here() -> None:
    types = {
        value
        for module in (campaign_module, claims_module, config_module, vocabulary_module)
        for value in vars(module).values()
        if isinstance(value, type) and attrs.has(value) and value.__module__ == module.__name__
    }
    assert types == {type(value) for value in VALUES}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__.lower())
class TestEveryValue:
    def test_copies_are_equal(self, value: Any) -> None:
        for copied in [*copies(value), attrs.evolve(value)]:
            assert type(copied) is type(value)
            assert copied == value
            assert hash(copied) == hash(value)
            assert repr(copied) == repr(value)

    def test_no_field_can_be_set(self, value: Any) -> None:
        assert not hasattr(value, "__dict__")
        for field in attrs.fields(type(value)):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(value, field.name, None)
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                delattr(value, field.name)

    def test_every_datetime_needs_a_time_zone(self, value: Any) -> None:
        east = NOON.astimezone(timezone(timedelta(hours=5)))
        for field in attrs.fields(type(value)):
            if getattr(value, field.name) == NOON:
                with pytest.raises(ValueError, match="time zone"):
                    attrs.evolve(value, **{field.name: NAIVE})
                kept = getattr(attrs.evolve(value, **{field.name: east}), field.name)
                assert kept == NOON
                assert kept.tzinfo is UTC


def test_values_with_different_fields_are_not_equal() -> None:
    assert attrs.evolve(CLAIM, attempts=2) != CLAIM
    assert attrs.evolve(SUMMARY, unknown_costs=1) != SUMMARY
    assert Generated(None) != Generated(Decimal(0))
    assert Campaign("a") != Campaign("a")  # Each gets a new id.


# --- GenerationConfig ---------------------------------------------------------------------------

ACCEPTED: dict[str, list[Any]] = {
    "tone": [None, "casual", "x" * MAX_TONE_TEXT],
    "language": [None, "en", "pt-BR", "zh-Hant-TW", "abcdefgh"],
    "custom_instructions": [None, "", "Be brief.\n", "x" * MAX_INSTRUCTIONS],
    "default_variant_count": [None, 1, 3],
    "budget": [None, Decimal(0), Decimal("0.000000001"), Decimal("12.50"), 5],
    "extra": [{}, {"x_model": {"name": "big", "n": 1}}, {"tones": []}],
}
REFUSED: dict[str, list[Any]] = {
    "tone": ["", "x" * (MAX_TONE_TEXT + 1), 5, True, ["casual"], "\0", "\ud800"],
    "language": ["", "e", "abcdefghi", "en_US", "en-", "en\n", "éé", 5, "en-a-b-c-d"],
    "custom_instructions": ["x" * (MAX_INSTRUCTIONS + 1), 0, [], False, "nul \0"],
    "default_variant_count": [0, 4, True, 1.0, "1", 10**5000],
    "budget": [1.5, "1.5", True, Decimal(-1), Decimal("NaN"), Decimal("1E-10"), 10**9, []],
    "extra": [None, [], "", 5, {"tone": "again"}, {"budget": 1}, {"a": "\0"}, {"a": 2**53 + 1}],
}


def cells(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}-{index}")
        for name, values in table.items()
        for index, value in enumerate(values)
    ]


def test_the_tables_above_have_every_field_of_the_config() -> None:
    fields = {field.name for field in attrs.fields(GenerationConfig)}
    assert fields == ACCEPTED.keys() == REFUSED.keys() == {*GENERATION_FIELDS, "extra"}


@pytest.mark.parametrize(("name", "value"), cells(ACCEPTED))
def test_a_config_keeps_an_accepted_value(name: str, value: Any) -> None:
    assert thaw(getattr(GenerationConfig(**{name: value}), name)) == value


@pytest.mark.parametrize(("name", "value"), cells(REFUSED))
def test_a_config_refuses_a_wrong_value_and_names_the_field(name: str, value: Any) -> None:
    with pytest.raises(InvalidDocument) as caught:
        GenerationConfig(**{name: value})
    (violation,) = caught.value.violations
    assert caught.value.document == "generation_config"
    assert (violation.path, violation.code) == (f"/{name}", "invalid_value")
    assert violation.message.startswith(f"generation_config.{name}: ")
    assert len(violation.message) < 250
    violation.message.encode()


@given(st.sets(st.sampled_from(sorted(REFUSED)), min_size=1), st.data())
def test_a_config_reports_every_wrong_field(names: set[str], data: st.DataObject) -> None:
    # Draw indexes: Hypothesis prints what is drawn, and some values are too long for that.
    wrong = {
        name: REFUSED[name][data.draw(st.integers(0, len(REFUSED[name]) - 1), name)]
        for name in sorted(names)
    }
    with pytest.raises(InvalidDocument) as caught:
        GenerationConfig(**wrong)
    assert sorted(violation.path for violation in caught.value.violations) == sorted(
        f"/{name}" for name in names
    )


@pytest.mark.parametrize("levels", range(58, 66))
def test_a_config_that_would_be_too_deep_in_a_template_is_refused(levels: int) -> None:
    """So every campaign can be saved as a template, in which its settings are deeper."""
    deep: Any = "bottom"
    for _ in range(levels):
        deep = [deep]
    if fault_in({"generation_config": {"x": deep}}) is None:
        assert thaw(GenerationConfig(extra={"x": deep}).extra) == {"x": deep}
    else:
        with pytest.raises(InvalidDocument, match="extra"):
            GenerationConfig(extra={"x": deep})


def test_a_budget_given_as_an_int_becomes_a_decimal() -> None:
    assert type(GenerationConfig(budget=5).budget) is Decimal


# --- effective_config ---------------------------------------------------------------------------

names = st.sampled_from(["tone", "language", "x_words", "x_model"])
one_layer = st.dictionaries(names, alike, max_size=4)


@given(
    st.builds(
        GenerationConfig,
        tone=st.sampled_from([None, "casual"]),
        language=st.sampled_from([None, "en"]),
        custom_instructions=st.sampled_from([None, "", "Be brief."]),
        default_variant_count=st.just(2),
        budget=st.just(Decimal(5)),
        extra=st.dictionaries(st.sampled_from(["x_words", "x_model"]), alike),
    ),
    st.none() | one_layer,
    st.none() | one_layer,
)
def test_the_override_takes_precedence_over_the_step_and_the_step_over_the_campaign(
    config: GenerationConfig, own: dict[str, Any] | None, override: dict[str, Any] | None
) -> None:
    """A null takes precedence like any other value."""
    merged = effective_config(config, Step("email", "Intro", config=own), override)
    settings = {
        "tone": config.tone,
        "language": config.language,
        "custom_instructions": config.custom_instructions,
    }
    campaign_settings = {name: value for name, value in settings.items() if value is not None}
    layers: list[Mapping[str, Any]] = [override or {}, own or {}, config.extra, campaign_settings]
    assert merged.keys() == {name for layer in layers for name in layer}
    for name, value in merged.items():
        first = next(layer for layer in layers if name in layer)
        assert JsonObject({"": value}) == JsonObject({"": first[name]})
    assert type(merged) is JsonObject


@given(json_objects().map(thaw))
def test_an_override_changes_neither_config_nor_step(override: dict[str, Any]) -> None:
    config = GenerationConfig(tone="casual")
    step = Step("email", "Intro", config={"tone": "formal"})
    merged = effective_config(config, step, override)
    assert effective_config(config, step, MappingProxyType(override)) == merged
    assert effective_config(config, step)["tone"] == "formal"
    assert effective_config(config, Step("email", "Intro")) == JsonObject({"tone": "casual"})
    not_for_messages = GenerationConfig(default_variant_count=2, budget=Decimal(1))
    assert effective_config(not_for_messages, Step("email", "Intro")) == JsonObject()


# --- Claims and outcomes ------------------------------------------------------------------------


def test_a_claim_reserves_nothing_by_default() -> None:
    assert Claim(ID, ID, ID, ID, NOON, 1, 0, "f").reserved == Decimal(0)
    amounts: list[Any] = [0.5, -1, Decimal("1E-10")]
    for wrong in amounts:
        with pytest.raises((TypeError, ValueError), match="money"):
            attrs.evolve(CLAIM, reserved=wrong)


@pytest.mark.parametrize(
    "outcome",
    [
        Generated,
        lambda cost: Failed("code", "message", cost),
        lambda cost: NotReady(("phone",), cost),
        lambda cost: Unfinished(timedelta(0), cost),
    ],
    ids=["generated", "failed", "not-ready", "unfinished"],
)
def test_failure_22_an_outcome_costs_an_exact_amount_or_an_unknown_one(
    outcome: Callable[[Any], Any],
) -> None:
    assert outcome(None).cost is None
    assert outcome(Decimal("0.00144")).cost == Decimal("0.00144")
    assert type(outcome(3).cost) is Decimal
    for wrong in (0.00144, -1, Decimal("NaN"), Decimal("0.0000000001"), "1"):
        with pytest.raises((TypeError, ValueError), match="money"):
            outcome(wrong)


def test_failure_07_generated_and_failed_require_a_cost() -> None:
    """A default of zero would hide a forgotten cost; an unknown cost is ``None``."""
    with pytest.raises(TypeError, match="cost"):
        Generated()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="cost"):
        Failed("code", "message")  # type: ignore[call-arg]
    assert NotReady(("phone",)).cost == Unfinished().cost == Decimal(0)


@pytest.mark.parametrize("wrong", ["", None, 5, "nul \0", "half \ud800", ["code"]])
def test_a_failure_needs_a_code_and_a_message_that_a_database_can_store(wrong: Any) -> None:
    for code, message in ((wrong, "message"), ("code", wrong)):
        with pytest.raises(ValueError, match="text that a database can store"):
            Failed(code, message, None)


@pytest.mark.parametrize("wrong", [(), [], ("",), ("email", ""), (5,), (None,), ("\0",)])
def test_not_ready_needs_at_least_one_gap_with_a_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"gaps (names at least one|is text that a database)"):
        NotReady(wrong)


def test_gaps_may_be_any_list_but_not_a_single_string() -> None:
    assert NotReady(["phone", "email"]).gaps == ("phone", "email")
    with pytest.raises(TypeError, match="list of names"):
        NotReady("email")


def test_progress_counts_every_status() -> None:
    counts = {ContactStatus.GENERATED: 5, ContactStatus.EXCLUDED: 2, ContactStatus.FAILED: 1}
    progress = Progress(counts, Decimal(1), Decimal(0), 0, None)
    counts[ContactStatus.PENDING] = 100
    assert progress.by_status.keys() == set(ContactStatus)
    assert progress.by_status[ContactStatus.PENDING] == 0
    assert (progress.assigned, progress.total) == (8, 6)
    assert Progress({}, Decimal(0), Decimal(0), 0, None).total == 0


def test_the_words_of_stored_enumerations_never_change_between_releases() -> None:
    assert [*StopReason] == [
        *("not_generating", "drained", "leases_pending", "budget", "not_exported")
    ]
    assert [*Recorded] == ["applied", "already", "requeued", "excluded", "booked", "skipped"]
    assert [*Condition] == ["always", "no_response", "opened_not_replied"]


# --- Campaigns and templates --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "   ", "\n", "x" * (MAX_NAME + 1), None, 5, b"x", "nul \0", "half \ud800"]
)
def test_a_wrong_name_is_refused(name: Any) -> None:
    for make in (lambda: Campaign(name), lambda: CampaignTemplate(name, StepSequence())):
        with pytest.raises(InvalidDocument) as caught:
            make()
        (violation,) = caught.value.violations
        assert violation.path == "/name"
        assert "1 to 500 characters" in violation.message


@pytest.mark.parametrize("description", ["x" * (MAX_DESCRIPTION + 1), 5, [], "nul \0"])
def test_a_wrong_description_is_refused_beside_a_wrong_name(description: Any) -> None:
    with pytest.raises(InvalidDocument) as caught:
        Campaign("", description=description)
    assert [violation.path for violation in caught.value.violations] == ["/name", "/description"]
    assert caught.value.document == "campaign"
    with pytest.raises(InvalidDocument) as caught:
        CampaignTemplate("Preset", StepSequence(), description=description)
    assert [violation.path for violation in caught.value.violations] == ["/description"]
    assert caught.value.document == "campaign_template"


@pytest.mark.parametrize("name", ["x", " Spring ", "x" * MAX_NAME, "Frühling ✉"])
@pytest.mark.parametrize(
    "description", [None, "", "x" * MAX_DESCRIPTION], ids=["none", "empty", "longest"]
)
def test_a_valid_name_and_description_are_kept(name: str, description: str | None) -> None:
    campaign = Campaign(name, description=description)
    assert (campaign.name, campaign.description) == (name, description)


def test_a_new_campaign_is_an_empty_active_draft() -> None:
    campaign = Campaign("Spring")
    assert campaign.status is Status.DRAFT
    assert campaign.is_active
    assert campaign.version == 1
    assert (campaign.steps, campaign.generation_config) == (StepSequence(), GenerationConfig())
    assert campaign.created_at is campaign.generation_started_at is None


def test_failure_08_an_unknown_status_is_refused() -> None:
    assert Campaign("Spring", status="review").status is Status.REVIEW
    wrongs: list[Any] = [None, "", "sent", "DRAFT", 0]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="status is one of draft, ready"):
            Campaign("Spring", status=wrong)


@given(step_sequences(), generation_configs(), st.none() | st.text("abc"))
def test_failure_20_steps_go_from_campaign_to_template_and_back_unchanged(
    steps: StepSequence, config: GenerationConfig, description: str | None
) -> None:
    """Disabled steps, keys, day offsets and unknown fields are kept."""
    campaign = Campaign("Spring", steps, config, description, status=Status.EXPORTED)
    template = CampaignTemplate.from_campaign(campaign, "Preset")
    assert (template.name, template.description) == ("Preset", description)
    assert template.steps == steps
    assert template.generation_config == attrs.evolve(config, budget=None)
    again = Campaign.from_template(template, "Summer")
    assert again.steps == steps
    assert [step.enabled for step in again.steps] == [step.enabled for step in steps]
    assert again.steps.fingerprint == steps.fingerprint
    assert again.generation_config == attrs.evolve(config, budget=None)
    assert (again.name, again.description) == ("Summer", description)


def test_a_template_from_a_campaign_is_new_and_not_a_system_template() -> None:
    campaign = Campaign("Spring", STEPS, CONFIG, version=7, created_at=NOON)
    template = CampaignTemplate.from_campaign(campaign, "Preset")
    assert template.id != campaign.id
    assert not template.is_system
    assert (template.version, template.created_at) == (1, None)
    assert template.id != CampaignTemplate.from_campaign(campaign, "Preset").id


def test_failure_14_a_campaign_from_a_template_has_no_state_of_another() -> None:
    """It has neither the id and version of the template nor the state of a run."""
    template = CampaignTemplate("Preset", STEPS, CONFIG, is_system=True, version=9, created_at=NOON)
    campaign = Campaign.from_template(template, "Spring", owner_id=ID)
    assert campaign == Campaign(
        "Spring", STEPS, CONFIG, owner_id=ID, template_id=template.id, id=campaign.id
    )
    assert campaign.id != template.id
    other = Campaign.from_template(template, "Spring", description="Other", id=ID)
    assert (other.description, other.id) == ("Other", ID)


def test_a_campaign_copies_the_steps_of_its_template() -> None:
    template = CampaignTemplate("Preset", STEPS)
    campaign = Campaign.from_template(template, "Spring")
    attrs.evolve(template, steps=template.steps.update("s1", label="Changed"))
    assert campaign.steps == STEPS


def test_repairs_are_not_part_of_equality() -> None:
    repairs = (Repair("/0", "decoded", "was a string"),)
    campaign = Campaign("Spring", id=uuid4())
    assert attrs.evolve(campaign, repairs=repairs) == campaign
    assert hash(attrs.evolve(campaign, repairs=repairs)) == hash(campaign)
