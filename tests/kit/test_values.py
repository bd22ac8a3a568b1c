"""The public strategies draw every word and limit, shrink to simple values, and are consistent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis.strategies import SearchStrategy

from campaign_model import (
    STANDARD,
    Action,
    Campaign,
    CampaignContact,
    Channel,
    ClaimBatch,
    Codec,
    Condition,
    ContactStatus,
    Failed,
    Generated,
    GenerationConfig,
    HistoryEntry,
    JsonObject,
    NotReady,
    Status,
    Step,
    StepSequence,
    StopReason,
    Unfinished,
    Vocabulary,
    lifecycle,
)
from campaign_model.campaign import ADOPTED, MAX_DESCRIPTION, MAX_NAME
from campaign_model.claims import MAX_DURATION
from campaign_model.steps import MAX_DAY_OFFSET, MAX_LABEL, MAX_STEPS
from campaign_model.testing import strategies
from campaign_model.testing.edits import Edit, Edits, Insert, Move, Remove, Update, apply, check
from kit_rates import draw_values, iter_strategies
from support import contract

BOTH = {True, False}
NAME_SIZES = {1, MAX_NAME}


class Expected(NamedTuple):
    """A strategy, and pairs of a function of a drawn value and the results that must occur."""

    strategy: SearchStrategy[Any]
    results: list[tuple[Callable[[Any], set[Any]], set[Any]]]
    draws: int = 160


EXPECTED: dict[str, Expected] = {
    "steps": Expected(
        strategies.steps(),
        [
            (lambda step: {step.channel}, {channel.name for channel in STANDARD.channels}),
            (lambda step: {len(step.label)}, {1, MAX_LABEL}),
            (lambda step: {step.enabled}, BOTH),
            (lambda step: {step.needs_pdf}, BOTH),
            (lambda step: {step.variant_count}, {1, 2, 3}),
            (lambda step: {step.condition}, {None, *Condition}),
            (lambda step: {step.config}, {None, JsonObject()}),
            (lambda step: {"tone" in (step.config or ())}, BOTH),
            (lambda step: {bool(step.extra)}, BOTH),
        ],
    ),
    "step_sequences": Expected(
        strategies.step_sequences(max_size=MAX_STEPS),
        [
            (lambda steps: {len(steps)}, {0, 1, 2, 3, MAX_STEPS}),
            (lambda steps: {len(steps.enabled) == len(steps)}, BOTH),
            (lambda steps: {step.day_offset for step in steps}, {None, 0, MAX_DAY_OFFSET}),
            (lambda steps: {step.key is None for step in steps}, BOTH),
            (lambda steps: {len(key) for key in steps.keys}, {2, 40}),
            # After moves, a step can have the default key of another position.
            (
                lambda steps: {
                    key == f"s{index + 1}" for index, key in enumerate(steps.keys) if key[0] == "s"
                },
                BOTH,
            ),
            (lambda steps: {len({step.key is None for step in steps})}, {1, 2}),
        ],
    ),
    "edits": Expected(
        strategies.edits(),
        [
            (lambda drawn: {len(drawn.edits)}, {0, 1, 2, 3, 4, 5}),
            (lambda drawn: {type(edit) for edit in drawn.edits}, {Update, Move, Insert, Remove}),
            (
                lambda drawn: {
                    name
                    for edit in drawn.edits
                    if isinstance(edit, Update)
                    for name in edit.changes
                },
                {
                    *("channel", "label", "enabled", "variant_count", "day_offset"),
                    *("condition", "config"),
                },
            ),
            (
                lambda drawn: {
                    edit.step.key is None for edit in drawn.edits if isinstance(edit, Insert)
                },
                BOTH,
            ),
            (lambda drawn: {len(drawn.start)}, {0, 1, MAX_STEPS}),
        ],
    ),
    "generation_configs": Expected(
        strategies.generation_configs(),
        [
            (lambda config: {config.tone}, {None, *STANDARD.tones}),
            (lambda config: {config.language}, {None, "en", "pt-BR"}),
            (lambda config: {config.custom_instructions}, {None, ""}),
            (lambda config: {len(config.custom_instructions or "")}, {0, 10_000}),
            (lambda config: {config.default_variant_count}, {None, 1, 2, 3}),
            (lambda config: {config.budget}, {None, Decimal(0)}),
            (lambda config: {bool(config.extra)}, BOTH),
        ],
    ),
    "campaigns": Expected(
        strategies.campaigns(),
        [
            (lambda campaign: {campaign.status}, {*Status}),
            (
                lambda campaign: {(campaign.status, campaign.is_active)},
                {(Status.ARCHIVED, yes) for yes in BOTH},
            ),
            (lambda campaign: {len(campaign.name)}, NAME_SIZES),
            (lambda campaign: {campaign.description is None}, BOTH),
            (lambda campaign: {len(campaign.description or "")}, {0, MAX_DESCRIPTION}),
            (lambda campaign: {campaign.owner_id is None}, BOTH),
            (lambda campaign: {campaign.template_id is None}, BOTH),
            (lambda campaign: {bool(campaign.steps)}, BOTH),
            (lambda campaign: {campaign.generation_completed_at is None}, BOTH),
        ],
    ),
    "campaign_templates": Expected(
        strategies.campaign_templates(),
        [
            (lambda template: {template.is_system}, BOTH),
            (lambda template: {len(template.name)}, NAME_SIZES),
            (lambda template: {template.description is None}, BOTH),
        ],
    ),
    "history_entries": Expected(
        strategies.history_entries(),
        [
            (lambda entry: {entry.action}, {ADOPTED, *Action}),
            (lambda entry: {entry.actor is None}, BOTH),
        ],
    ),
    "facts": Expected(
        strategies.facts(),
        [
            (
                lambda facts: {
                    guard.name
                    for line in lifecycle.TRANSITIONS
                    for guard in line.guards
                    if not guard.holds(facts)
                },
                {guard.name for line in lifecycle.TRANSITIONS for guard in line.guards},
            ),
            (lambda facts: {facts.enabled_steps}, {0, 1, MAX_STEPS}),
            (lambda facts: {facts.review is None}, BOTH),
        ],
    ),
    "action_states": Expected(
        strategies.action_states(),
        [
            (lambda state: {state.action}, {*Action}),
            (lambda state: {state.allowed}, BOTH),
            (lambda state: {state.target is None}, BOTH),
        ],
    ),
    "campaign_contacts": Expected(
        strategies.campaign_contacts(),
        [
            (lambda contact: {contact.status}, {*ContactStatus}),
            (lambda contact: {contact.cost}, {Decimal(0)}),
            (lambda contact: {contact.stale}, BOTH),
            (lambda contact: {contact.retry_at is None}, BOTH),
            (lambda contact: {contact.exported_at is None}, BOTH),
            (
                lambda contact: (
                    {contact.enrichment_gaps and len(contact.enrichment_gaps)}
                    if contact.status in {"generating", "generated", "failed", "excluded"}
                    else set()
                ),
                {None, (), 1},
            ),
        ],
    ),
    "outcomes": Expected(
        strategies.outcomes(),
        [
            (lambda outcome: {type(outcome)}, {Generated, Failed, NotReady, Unfinished}),
            (
                lambda outcome: {(type(outcome), outcome.cost)},
                {
                    (type_, cost)
                    for type_ in (Generated, Failed, NotReady, Unfinished)
                    for cost in (None, Decimal(0))
                },
            ),
            (
                lambda outcome: {getattr(outcome, "retry_after", None)},
                {timedelta(0), MAX_DURATION},
            ),
        ],
    ),
    "claim_batches": Expected(
        strategies.claim_batches(),
        [
            (lambda batch: {batch.stop}, {None, *StopReason}),
            (lambda batch: {batch.retry_at is None}, BOTH),
            (lambda batch: {len(batch.claims)}, {0, 1, 2}),
        ],
    ),
    "progress": Expected(
        strategies.progress(),
        [
            (lambda progress: {progress.seconds_left is None}, BOTH),
            (lambda progress: {progress.budget}, {None, Decimal(0)}),
            (lambda progress: {progress.exported > 0}, BOTH),
        ],
    ),
    "errors": Expected(
        strategies.errors(),
        [
            (
                lambda error: {error.code},
                {
                    *("conflict", "invalid_argument", "invalid_document", "lease_lost"),
                    *("not_found", "transition_not_allowed"),
                },
            ),
            (
                lambda error: {getattr(error, "reason", None)},
                {"stale_version", "already_exists", "read_only", "still_referred_to"},
            ),
            (lambda error: {bool(getattr(error, "unmet", None))}, BOTH),
        ],
        draws=480,  # One error in six is a conflict, which has one of four reasons.
    ),
    "vocabularies": Expected(
        strategies.vocabularies(),
        [
            (lambda vocabulary: {vocabulary == STANDARD}, BOTH),
            (lambda vocabulary: {len(channel.name) for channel in vocabulary.channels}, {1, 40}),
            (
                lambda vocabulary: {channel.max_length is None for channel in vocabulary.channels},
                BOTH,
            ),
            (lambda vocabulary: {channel.requires == () for channel in vocabulary.channels}, BOTH),
        ],
    ),
    "amounts": Expected(
        strategies.amounts(),
        [
            (
                lambda amount: {amount},
                {Decimal(0), Decimal("0.000000001"), Decimal("999999999.999999999")},
            ),
            (lambda amount: {amount.as_tuple().exponent}, {0, -2, -9}),
        ],
    ),
    "json_values": Expected(
        strategies.json_values(),
        [
            (
                lambda value: {type(value)},
                {type(None), bool, int, float, str, list, dict},
            ),
        ],
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", EXPECTED)
def test_every_word_and_limit_is_drawn(name: str) -> None:
    strategy, results, draws = EXPECTED[name]
    values = draw_values(strategy, draws)
    for number, (read, expected) in enumerate(results):
        assert expected <= {result for value in values for result in read(value)}, number


# Shrinking.

QUICK = settings(
    max_examples=1000, database=None, phases=[Phase.generate, Phase.shrink], derandomize=True
)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
EMAIL = Step("email", "Intro")
FIRST = UUID(int=1)

SIMPLEST: dict[str, tuple[SearchStrategy[Any], Callable[[Any], Any], Any]] = {
    "a step": (strategies.steps(), lambda _: True, EMAIL),
    "a step of two variants": (
        strategies.steps(),
        lambda step: step.variant_count > 1,
        Step("email", "Intro", variant_count=2),
    ),
    "a disabled step": (
        strategies.steps(),
        lambda step: not step.enabled,
        Step("email", "Intro", enabled=False),
    ),
    "a step with an unknown field": (
        strategies.steps(),
        lambda step: step.extra,
        Step("email", "Intro", extra={"x_": None}),
    ),
    "no steps": (strategies.step_sequences(), lambda _: True, StepSequence()),
    "two steps": (
        strategies.step_sequences(),
        lambda steps: len(steps) > 1,
        StepSequence([EMAIL, EMAIL]),
    ),
    "a later day": (
        strategies.step_sequences(),
        lambda steps: any(step.day_offset for step in steps),
        StepSequence([Step("email", "Intro", day_offset=1)]),
    ),
    "settings": (strategies.generation_configs(), lambda _: True, GenerationConfig()),
    "a budget": (
        strategies.generation_configs(),
        lambda config: config.budget,
        GenerationConfig(budget=Decimal(1)),
    ),
    "a campaign": (strategies.drafts(), lambda _: True, Campaign("Spring", id=FIRST)),
    "a campaign under review": (
        strategies.campaigns(),
        lambda campaign: campaign.status is Status.REVIEW,
        Campaign(
            "Spring",
            id=FIRST,
            status=Status.REVIEW,
            created_at=NEW_YEAR,
            updated_at=NEW_YEAR,
            generation_started_at=NEW_YEAR,
        ),
    ),
    "an outcome that cost something": (
        strategies.outcomes(),
        lambda outcome: outcome.cost,
        Generated(Decimal(1)),
    ),
    "edits": (strategies.edits(), lambda _: True, Edits(StepSequence(), ())),
    "an edit": (
        strategies.edits(max_size=1),
        lambda drawn: any(isinstance(edit, Update) and edit.changes for edit in drawn.edits),
        Edits(StepSequence([EMAIL]), (Update(0, JsonObject({"label": "Intro"})),)),
    ),
    "vocabularies": (
        strategies.vocabularies(),
        lambda vocabulary: vocabulary != STANDARD,
        Vocabulary((Channel("email"),), ("casual",)),
    ),
    "text": (strategies.texts(min_size=1), lambda _: True, "0"),
    "JSON": (strategies.json_values(), lambda value: value, True),
}


@pytest.mark.parametrize("name", SIMPLEST)
def test_a_failing_example_shrinks_to_the_simplest_value(name: str) -> None:
    strategy, holds, simplest = SIMPLEST[name]
    assert find(strategy, holds, settings=QUICK) == simplest


def test_no_strategy_has_a_name_that_is_too_long_for_hypothesis() -> None:
    assert {
        name: len(repr(strategy))
        for name, strategy in iter_strategies()
        if len(repr(strategy)) > 6000
    } == {}


# Consistent values.

OWN = Vocabulary((Channel("fax"), Channel("pigeon")), ("gruff",))


@given(
    strategies.step_sequences(vocabulary=OWN),
    strategies.generation_configs(vocabulary=OWN),
    strategies.drafts(vocabulary=OWN),
    strategies.edits(vocabulary=OWN),
    strategies.claim_batches(vocabulary=OWN),
)
def test_values_use_the_given_vocabulary(
    steps: StepSequence, config: GenerationConfig, draft: Campaign, edits: Edits, batch: ClaimBatch
) -> None:
    sequences = [steps, draft.steps, batch.steps, edits.start]
    sequences += [after for _, _, after in edits.stages()]
    assert {step.channel for one in sequences for step in one} <= {"fax", "pigeon"}
    assert {config.tone, draft.generation_config.tone} <= {None, "gruff"}
    codec = Codec(OWN)
    assert codec.parse_generation_config(codec.dump_generation_config(config)) == config
    for one in filter(None, sequences):
        assert codec.parse_template_config(codec.dump_template_config(one)) == one


@given(strategies.campaigns())
def test_the_times_of_a_campaign_fit_its_status(campaign: Campaign) -> None:
    assert campaign.is_active or campaign.status is Status.ARCHIVED
    assert campaign.created_at is not None
    assert campaign.updated_at is not None
    assert campaign.created_at <= campaign.updated_at
    if campaign.generation_completed_at is not None:
        assert campaign.generation_started_at is not None
        assert campaign.generation_started_at <= campaign.generation_completed_at
        assert campaign.status is not Status.GENERATING
    if campaign.is_active and campaign.status not in {Status.DRAFT, Status.READY}:
        assert campaign.generation_started_at is not None


@given(strategies.campaigns([Status.EXPORTED, Status.APPROVED]))
def test_campaigns_have_the_given_statuses(campaign: Campaign) -> None:
    assert campaign.status in {Status.EXPORTED, Status.APPROVED}


@given(strategies.campaign_contacts())
def test_the_fields_of_a_contact_fit_its_status(contact: CampaignContact) -> None:
    waiting = {lifecycle.resting_status(gaps) for gaps in (None, (), ("phone",))}
    if contact.status in waiting:
        assert lifecycle.resting_status(contact.enrichment_gaps) is contact.status
    assert (contact.error is None) is (contact.status is not ContactStatus.FAILED)
    assert (contact.generated_at is None) is (contact.status is not ContactStatus.GENERATED)
    assert (contact.lease_expires_at is None) is (contact.status is not ContactStatus.GENERATING)


@given(strategies.claim_batches())
def test_the_claims_of_a_batch_have_one_campaign_and_its_steps(batch: ClaimBatch) -> None:
    assert len({claim.campaign_id for claim in batch.claims}) <= 1
    assert len({claim.id for claim in batch.claims}) == len(batch.claims)
    assert {claim.steps_fingerprint for claim in batch.claims} <= {batch.steps.fingerprint}
    assert all(claim.expires_at > batch.at for claim in batch.claims)
    assert batch.stop is not StopReason.NOT_GENERATING or not batch.claims


@given(strategies.history_entries())
def test_every_move_of_the_history_is_in_the_table(entry: HistoryEntry) -> None:
    if entry.action == ADOPTED:
        assert entry.source is entry.target
    else:
        assert entry.source in lifecycle.sources(entry.action)
        assert entry.target is lifecycle.target(entry.action)


# Wrong edits, which `check` must find.


def steps_get_no_keys(edit: Edit, steps: StepSequence) -> StepSequence:
    if not isinstance(edit, Update):
        return apply(edit, steps)
    edited = list(steps)
    edited[edit.index] = attrs.evolve(steps[edit.index], **edit.changes)
    return StepSequence(edited)


def days_move_with_their_steps(edit: Edit, steps: StepSequence) -> StepSequence:
    after = apply(edit, steps)
    if not isinstance(edit, Move):
        return after
    days = [step.day_offset for step in steps]
    days.insert(edit.position - 1, days.pop(edit.index))
    if sorted(day for day in days if day is not None) != [d for d in days if d is not None]:
        return after
    return StepSequence(
        attrs.evolve(step, day_offset=day) for step, day in zip(after, days, strict=True)
    )


def every_step_is_enabled(edit: Edit, steps: StepSequence) -> StepSequence:
    after = apply(edit, steps)
    return StepSequence(attrs.evolve(step, enabled=True) for step in after)


def keys_follow_positions(edit: Edit, steps: StepSequence) -> StepSequence:
    return StepSequence(
        attrs.evolve(step, key=f"s{index + 1}") for index, step in enumerate(apply(edit, steps))
    )


def unknown_fields_are_lost(edit: Edit, steps: StepSequence) -> StepSequence:
    return StepSequence(attrs.evolve(step, extra={}) for step in apply(edit, steps))


def a_step_moves_too_far(edit: Edit, steps: StepSequence) -> StepSequence:
    if isinstance(edit, Move):
        edit = attrs.evolve(edit, position=min(edit.position + 1, len(steps)))
    return apply(edit, steps)


def the_first_step_is_removed(edit: Edit, steps: StepSequence) -> StepSequence:
    return apply(Remove(0) if isinstance(edit, Remove) else edit, steps)


def a_new_step_is_appended(edit: Edit, steps: StepSequence) -> StepSequence:
    if isinstance(edit, Insert) and edit.step.day_offset is None:
        edit = attrs.evolve(edit, position=len(steps) + 1)
    return apply(edit, steps)


def a_new_step_takes_a_used_key(edit: Edit, steps: StepSequence) -> StepSequence:
    after = apply(edit, steps)
    if not (isinstance(edit, Insert) and edit.step.key is None and len(after) > 1):
        return after
    edited = list(after)
    index, other = edit.position - 1, edit.position % len(edited)
    edited[index] = attrs.evolve(edited[index], key=after[other].key)
    edited[other] = attrs.evolve(edited[other], key=after[index].key)
    return StepSequence(edited)


WRONG_EDITS = [
    steps_get_no_keys,
    days_move_with_their_steps,
    every_step_is_enabled,
    keys_follow_positions,
    unknown_fields_are_lost,
    a_step_moves_too_far,
    the_first_step_is_removed,
    a_new_step_is_appended,
    a_new_step_takes_a_used_key,
]


@pytest.mark.parametrize("wrong", WRONG_EDITS, ids=lambda wrong: wrong.__name__)
def test_wrong_edits_are_found(wrong: Callable[[Edit, StepSequence], StepSequence]) -> None:
    def is_found(drawn: Edits) -> bool:
        for before, edit, _ in drawn.stages():
            try:
                check(before, edit, wrong(edit, before))
            except AssertionError:
                return True
        return False

    find(strategies.edits(), is_found, settings=settings(QUICK, phases=[Phase.generate]))


# The guide.


def test_the_tests_in_the_guide_pass() -> None:
    names: dict[str, Any] = {}
    exec(contract.documented("import json"), names)  # noqa: S102 - our own guide
    tests = {name: test for name, test in names.items() if name.startswith("test_")}
    assert len(tests) == 5
    for test in tests.values():
        settings(max_examples=20)(test)()
