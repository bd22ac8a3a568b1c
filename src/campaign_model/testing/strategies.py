"""Hypothesis strategies for the library's values. Each function returns a strategy.

Values are consistent in themselves, as the library would make them: a campaign that was generated
has a time when that began, a contact that failed has an error. ``st.from_type`` draws from these
as well, and also every other public type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar, get_args, get_origin
from uuid import UUID

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign_model import lifecycle
from campaign_model._json import EMPTY, JsonObject
from campaign_model.campaign import (
    ADOPTED,
    MAX_NAME,
    Campaign,
    CampaignSummary,
    CampaignTemplate,
    HistoryEntry,
    Page,
    Repair,
)
from campaign_model.campaign_contact import Assigned, CampaignContact, Changed, Overlap, Removed
from campaign_model.claims import (
    MAX_DURATION,
    Claim,
    ClaimBatch,
    Cursor,
    Estimate,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Progress,
    Renewal,
    StopReason,
    Unfinished,
)
from campaign_model.errors import (
    CampaignModelError,
    Conflict,
    InvalidDocument,
    LeaseLost,
    NotFound,
    TransitionNotAllowed,
    Unmet,
    Violation,
)
from campaign_model.generation_config import GENERATION_FIELDS, GenerationConfig
from campaign_model.lifecycle import (
    Action,
    ActionState,
    ContactStatus,
    Facts,
    ReviewTally,
    Status,
)
from campaign_model.steps import (
    MAX_DAY_OFFSET,
    MAX_STEPS,
    MAX_VARIANTS,
    STEP_FIELDS,
    MessageSlot,
    SequenceDiff,
    Step,
    StepSequence,
)
from campaign_model.testing import _parts, documents
from campaign_model.testing._parts import made
from campaign_model.testing.edits import Edit, Edits, Insert, Move, Remove, Update
from campaign_model.vocabulary import (
    MAX_TONE,
    STANDARD,
    Channel,
    Condition,
    Vocabulary,
)
from campaign_model.wire import Codec, Recovered

__all__ = [
    "action_states",
    "amounts",
    "campaign_contacts",
    "campaign_summaries",
    "campaign_templates",
    "campaigns",
    "channels",
    "claim_batches",
    "claims",
    "drafts",
    "edits",
    "errors",
    "facts",
    "generation_configs",
    "history_entries",
    "ids",
    "json_objects",
    "json_values",
    "message_slots",
    "moments",
    "new_templates",
    "of_type",
    "outcomes",
    "progress",
    "step_sequences",
    "steps",
    "texts",
    "violations",
    "vocabularies",
]

Value = TypeVar("Value")

# --- Words, numbers, times ----------------------------------------------------------------------

texts = _parts.texts
json_values = _parts.json_values


def json_objects() -> SearchStrategy[JsonObject]:
    """Small objects of :func:`json_values`, frozen."""
    return made(JsonObject, _parts.members(json_values()))


def ids() -> SearchStrategy[UUID]:
    """Ids that, unlike those of ``st.uuids``, shrink to a plain one."""
    return _parts.ids


def amounts() -> SearchStrategy[Decimal]:
    """Money: 0, whole, with cents, with up to nine decimals, and just below the limit."""
    return _parts.amounts.map(Decimal)


_NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
_YEAR = timedelta(days=365) // timedelta(microseconds=1)


def moments() -> SearchStrategy[datetime]:
    """Times in UTC to the microsecond, within a few decades of 2026."""
    return made(lambda since: _NEW_YEAR + since, _after(-20 * _YEAR))


def _after(least: int = 0) -> SearchStrategy[timedelta]:
    return st.integers(least, 70 * _YEAR).map(lambda number: timedelta(microseconds=number))


_ids, _moments, _amounts, _words = ids(), moments(), amounts(), texts(min_size=1)
_counts = st.one_of(st.just(0), st.integers(1, 1000))
_names = _parts.names("Spring", MAX_NAME)


def _maybe(strategy: SearchStrategy[Value]) -> SearchStrategy[Value | None]:
    return st.one_of(st.none(), strategy)


def _some(
    strategy: SearchStrategy[Value], min_size: int = 0, max_size: int = 3
) -> SearchStrategy[tuple[Value, ...]]:
    return st.lists(strategy, min_size=min_size, max_size=max_size, unique=True).map(tuple)


_costs = _maybe(_amounts)
_some_ids, _one_id_at_least = _some(_ids), _some(_ids, min_size=1)
_fields = st.sampled_from(["email_address", "linkedin_url", "phone"])


# --- Vocabulary and steps -----------------------------------------------------------------------


def channels() -> SearchStrategy[Channel]:
    """Channels of any name, limit and requirements."""
    return st.builds(
        Channel,
        name=st.one_of(
            st.sampled_from(_parts.channel_names(None)),
            st.text("az09_", max_size=39).map(lambda rest: f"c{rest}"),
        ),
        max_length=_maybe(st.integers(1, 5000)),
        has_subject=st.booleans(),
        requires=_some(_fields),
    )


def vocabularies() -> SearchStrategy[Vocabulary]:
    """The standard words, and a few channels and tones of any name."""
    tones = st.one_of(st.sampled_from(["casual", "t" * MAX_TONE]), _words)
    return st.one_of(
        st.just(STANDARD),
        st.builds(
            Vocabulary,
            channels=st.lists(
                channels(), min_size=1, max_size=2, unique_by=lambda one: one.name
            ).map(tuple),
            tones=_some(tones, min_size=1),
        ),
    )


def _step(members: dict[str, Any]) -> Step:
    known = {name: value for name, value in members.items() if name in STEP_FIELDS}
    extra = {name: value for name, value in members.items() if name not in STEP_FIELDS}
    return Step(**known, extra=JsonObject(extra) if extra else EMPTY)


def _sequence(drawn: list[dict[str, Any]]) -> StepSequence:
    return StepSequence(map(_step, drawn))


def steps(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Step]:
    """Steps on the vocabulary's channels, each without a key and a day: its sequence gives them.

    Switched on and off, 1 to 3 variants, labels of 1 to 200 characters, every condition and none,
    with settings and fields of their own (``x_``) or without.
    """
    return made(_step, _parts.step(vocabulary))


def step_sequences(
    min_size: int = 0, max_size: int = 5, *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[StepSequence]:
    """Sequences of :func:`steps`: some keyed and some not, on days 0 to 365 and on none.

    Now and then the keys stand as after a move. With ``max_size=20`` there are 20 steps often
    enough, which Hypothesis would hardly come to.
    """
    filled = max_size == MAX_STEPS
    return made(_sequence, _parts.steps(vocabulary, min_size, max_size, filled=filled))


def message_slots() -> SearchStrategy[MessageSlot]:
    """A message of any of 20 steps, in each of its variants."""
    return st.builds(
        MessageSlot,
        step_key=st.sampled_from(["s1", "s20", "step-2", "k" * 40]),
        position=st.integers(1, MAX_STEPS),
        channel=st.sampled_from(_parts.channel_names(STANDARD)),
        variant=st.sampled_from("abc"),
    )


_CHANGES: dict[str, SearchStrategy[Any]] = {
    "label": _parts.labels,
    "enabled": st.booleans(),
    "variant_count": st.integers(1, MAX_VARIANTS),
    "day_offset": _maybe(_parts.picks),
    "condition": _maybe(st.sampled_from([*map(str, Condition)])),
    "config": _maybe(_parts.members(_words)),
}


def edits(max_size: int = 5, *, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Edits]:
    """A sequence, and up to so many edits of it, of every kind, that can be made in turn.

    ``drawn.stages()`` makes them; :func:`campaign_model.testing.edits.check` is what must hold of
    each.
    """
    channel = {"channel": st.sampled_from(_parts.channel_names(vocabulary))}
    one_change = [st.fixed_dictionaries({name: _CHANGES[name]}) for name in _CHANGES]
    # Each of a few choices, as above: the first of them is what changes nothing.
    changes = st.one_of(made(dict), *one_change, _parts.objects(channel, _CHANGES))
    wishes = st.one_of(
        st.tuples(st.just(Update), changes, _parts.picks),
        st.tuples(st.just(Move), _parts.picks, _parts.picks),
        st.tuples(
            st.just(Insert),
            st.tuples(steps(vocabulary=vocabulary), _maybe(_parts.picks)),
            _parts.picks,
        ),
        st.tuples(st.just(Remove), st.none(), _parts.picks),
    )
    start = made(_sequence, _parts.steps(vocabulary, 0, 5, filled=True))
    return made(_possible, st.lists(wishes, min_size=1, max_size=max_size), start)


def _possible(wishes: list[tuple[type, Any, int]], start: StepSequence) -> Edits:
    """Edits as wished for, as far as the sequence that stands by then has room for them."""
    days = [step.day_offset for step in start]
    made: list[Edit] = []
    for number, (kind, wish, pick) in enumerate(wishes):
        if kind is Insert and len(days) < MAX_STEPS:
            step, day = wish
            index = pick // 2 % (len(days) + 1)
            days.insert(index, _day(days[:index], days[index:], day))
            key = f"new-{number}" if pick % 2 else None
            made.append(Insert(index + 1, attrs.evolve(step, key=key, day_offset=days[index])))
        elif kind is not Insert and days:
            index = pick % len(days)
            if kind is Update:
                changes = dict(wish)
                if "day_offset" in changes:
                    days[index] = _day(days[:index], days[index + 1 :], changes["day_offset"])
                    changes["day_offset"] = days[index]
                made.append(Update(index, JsonObject(changes)))
            elif kind is Move:
                made.append(Move(index, wish % len(days) + 1))
            else:
                made.append(Remove(index))
                del days[index]
    return Edits(start, tuple(made))


def _day(before: list[int | None], after: list[int | None], pick: int | None) -> int | None:
    """A day that may stand between those ``before`` and those ``after``, or none."""
    if pick is None:
        return None
    first = max((day for day in before if day is not None), default=0)
    last = min((day for day in after if day is not None), default=MAX_DAY_OFFSET)
    return first + pick % (last - first + 1)


# --- Settings, templates, campaigns -------------------------------------------------------------


def _config(members: dict[str, Any]) -> GenerationConfig:
    known = {name: value for name, value in members.items() if name in GENERATION_FIELDS}
    extra = {name: value for name, value in members.items() if name not in GENERATION_FIELDS}
    if "budget" in known:
        known["budget"] = Decimal(known["budget"])
    return GenerationConfig(**known, extra=JsonObject(extra))


def generation_configs(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[GenerationConfig]:
    """Settings: each of them given or not, with fields of their own (``x_``) or without."""
    return made(_config, _parts.settings(vocabulary))


def _contents(vocabulary: Vocabulary) -> dict[str, SearchStrategy[Any]]:
    return {
        "id": _ids,
        "steps": step_sequences(max_size=3, vocabulary=vocabulary),
        "generation_config": generation_configs(vocabulary=vocabulary),
        "description": _maybe(_parts.descriptions),
    }


def new_templates(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[CampaignTemplate]:
    """Templates of a tenant's own, as they are before ``store.templates.add``."""
    return st.builds(
        CampaignTemplate, name=_parts.names("Three e-mails", MAX_NAME), **_contents(vocabulary)
    )


def campaign_templates(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[CampaignTemplate]:
    """Templates as a store gives them, of the system's and of a tenant's own."""
    return made(
        lambda template, is_system, kept: attrs.evolve(template, is_system=is_system, **kept),
        new_templates(vocabulary=vocabulary),
        st.booleans(),
        _kept(),
    )


def _kept() -> SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda version, created, since: {
            "version": version,
            "created_at": created,
            "updated_at": created + since,
        },
        st.integers(1, 1000),
        _moments,
        _after(),
    )


def drafts(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[Campaign]:
    """Campaigns of nobody, as they are before ``store.campaigns.add``."""
    return st.builds(Campaign, name=_names, **_contents(vocabulary))


def campaigns(
    statuses: Iterable[Status] = Status, *, vocabulary: Vocabulary = STANDARD
) -> SearchStrategy[Campaign]:
    """Campaigns as a store gives them, in any of the ``statuses``.

    An archived one is a deleted draft or was exported; what is generating or was generated has
    the time when that began.
    """
    return _kept_as(drafts(vocabulary=vocabulary), statuses)


def _kept_as(
    drafts: SearchStrategy[Campaign], statuses: Iterable[Status] = Status
) -> SearchStrategy[Campaign]:
    return made(
        _campaign,
        status=st.sampled_from([*statuses]),
        deleted=st.booleans(),
        run=_maybe(st.tuples(_after(), _maybe(_after()))),
        kept=_kept(),
        draft=drafts,
        owner_id=_maybe(_ids),
        template_id=_maybe(_ids),
    )


def _campaign(
    *,
    status: Status,
    deleted: bool,
    run: tuple[timedelta, timedelta | None] | None,
    kept: dict[str, Any],
    draft: Campaign,
    **of: Any,
) -> Campaign:
    active = not (deleted and status is Status.ARCHIVED)
    if active and status not in {Status.DRAFT, Status.READY}:
        run = run or (timedelta(0), None)
    started = completed = None
    if run is not None:
        began, took = run
        started = kept["created_at"] + began
        if took is not None and status is not Status.GENERATING:
            completed = started + took
    return attrs.evolve(
        draft,
        status=status,
        is_active=active,
        generation_started_at=started,
        generation_completed_at=completed,
        **kept,
        **of,
    )


def campaign_summaries() -> SearchStrategy[CampaignSummary]:
    """Lines of a list of campaigns, in every status."""
    return made(
        _summary,
        _kept_as(st.builds(Campaign, id=_ids, name=_names)),
        _counts,
        _counts,
        _amounts,
        _counts,
    )


def _summary(
    campaign: Campaign, generated: int, others: int, cost: Decimal, unknown: int
) -> CampaignSummary:
    same = {
        name: getattr(campaign, name)
        for name in attrs.fields_dict(CampaignSummary)
        if name in attrs.fields_dict(Campaign)
    }
    return CampaignSummary(
        total_contacts=generated + others,
        generated_count=generated,
        generation_cost=cost,
        unknown_costs=unknown,
        **same,
    )


def history_entries() -> SearchStrategy[HistoryEntry]:
    """Moves that the lifecycle's table knows, and adoptions, which lead nowhere."""
    moves = [(line.action, line.source, line.target) for line in lifecycle.TRANSITIONS]
    adoptions = [(ADOPTED, status, status) for status in (Status.DRAFT, Status.EXPORTED)]
    return made(
        lambda move, **rest: HistoryEntry(action=move[0], source=move[1], target=move[2], **rest),
        st.sampled_from([*moves, *adoptions]),
        at=_moments,
        version=st.integers(1, 1000),
        actor=_maybe(_words),
        reason=_maybe(_words),
    )


# --- Lifecycle ----------------------------------------------------------------------------------

_tallies = st.builds(ReviewTally, approved=_counts, rejected=_counts, undecided=_counts)


def facts() -> SearchStrategy[Facts]:
    """Facts that can be true together: claimable, in flight and generated are some of all."""
    return made(
        lambda claimable, in_flight, generated, others, **rest: Facts(
            claimable=claimable,
            in_flight=in_flight,
            generated=generated,
            contacts=claimable + in_flight + generated + others,
            **rest,
        ),
        _counts,
        _counts,
        _counts,
        _counts,
        enabled_steps=st.integers(0, MAX_STEPS),
        budget_exhausted=st.booleans(),
        review=_maybe(_tallies),
        allow_empty=st.booleans(),
    )


def action_states() -> SearchStrategy[ActionState]:
    """Every action from every status, allowed or with the reasons why not."""
    return made(
        lambda status, action, known: next(
            state for state in lifecycle.actions(status, known) if state.action is action
        ),
        st.sampled_from(Status),
        st.sampled_from(Action),
        facts(),
    )


# --- Contacts and generation --------------------------------------------------------------------


def campaign_contacts() -> SearchStrategy[CampaignContact]:
    """Contacts in every status, with what goes with it: gaps, a lease, an error, a time."""
    return made(
        _contact,
        status=st.sampled_from(ContactStatus),
        gaps=_some(_fields),
        unknown=st.booleans(),
        stale=st.booleans(),
        error=_words,
        since=_after(),
        pause=_maybe(_after()),
        id=_ids,
        campaign_id=_ids,
        contact_id=_ids,
        priority=st.integers(-(2**22) + 1, 2**22 - 1),
        attempts=_counts,
        revision=_counts,
        cost=_amounts,
        unknown_costs=_counts,
        added_at=_moments,
    )


def _contact(
    *,
    status: ContactStatus,
    gaps: tuple[str, ...],
    unknown: bool,
    stale: bool,
    error: str,
    since: timedelta,
    pause: timedelta | None,
    **rest: Any,
) -> CampaignContact:
    known = {
        ContactStatus.PENDING: None,
        ContactStatus.ENRICHMENT_OK: (),
        ContactStatus.ENRICHMENT_NEEDED: gaps or ("email_address",),
    }
    at = rest["added_at"] + since
    failed, generated = status is ContactStatus.FAILED, status is ContactStatus.GENERATED
    paused = status in lifecycle.CLAIMABLE and pause is not None
    return CampaignContact(
        status=status,
        enrichment_gaps=known.get(status, None if unknown else gaps),
        error_code=error if failed else None,
        error=error if failed else None,
        stale=generated and stale,
        lease_expires_at=at if status is ContactStatus.GENERATING else None,
        retry_at=at + pause if paused else None,
        generated_at=at if generated else None,
        **rest,
    )


_OUTCOMES: dict[type[Outcome], SearchStrategy[Any]] = {
    Generated: st.builds(Generated, cost=_costs),
    Failed: st.builds(Failed, code=_words, message=_words, cost=_costs),
    NotReady: st.builds(NotReady, gaps=_some(_fields, min_size=1), cost=_costs),
    Unfinished: st.builds(
        Unfinished,
        retry_after=st.one_of(
            st.just(timedelta(0)),
            st.integers(0, 3600).map(lambda seconds: timedelta(seconds=seconds)),
            st.just(MAX_DURATION),
        ),
        cost=_costs,
    ),
}


def outcomes() -> SearchStrategy[Outcome]:
    """What a worker reports, of all four kinds: with a cost, 0 among them, and without one."""
    return st.one_of([*_OUTCOMES.values()])


_fingerprints = st.integers(0, 2**256 - 1).map("{:064x}".format)


def claims() -> SearchStrategy[Claim]:
    """Claims of any contact, first ones and takeovers."""
    return st.builds(
        Claim,
        id=_ids,
        campaign_id=_ids,
        contact_id=_ids,
        token=_ids,
        expires_at=_moments,
        attempts=st.integers(1, 1000),
        revision=_counts,
        steps_fingerprint=_fingerprints,
        reserved=_amounts,
    )


def _cursors() -> SearchStrategy[Cursor]:
    return st.builds(Cursor, rank=st.just(-(2**63)) | st.integers(-(2**63), 2**63 - 1))


def claim_batches(*, vocabulary: Vocabulary = STANDARD) -> SearchStrategy[ClaimBatch]:
    """Claims of one campaign under its steps, all that was asked for or fewer and why."""
    return made(
        _batch,
        _maybe(st.sampled_from(StopReason)),
        st.lists(claims(), min_size=1, max_size=3, unique_by=lambda claim: claim.id),
        _maybe(_after()),
        at=_moments,
        cursor=_cursors(),
        steps=step_sequences(min_size=1, max_size=3, vocabulary=vocabulary),
        generation_config=generation_configs(vocabulary=vocabulary),
    )


def _batch(
    stop: StopReason | None, drawn: list[Claim], pause: timedelta | None, **rest: Any
) -> ClaimBatch:
    first, steps = drawn[0], rest["steps"]
    return ClaimBatch(
        claims=tuple(
            attrs.evolve(
                claim,
                campaign_id=first.campaign_id,
                expires_at=rest["at"] + timedelta(minutes=5),
                steps_fingerprint=steps.fingerprint,
            )
            for claim in drawn
            if stop is not StopReason.NOT_GENERATING
        ),
        stop=stop,
        retry_at=None if stop is None or pause is None else rest["at"] + pause,
        **rest,
    )


def progress() -> SearchStrategy[Progress]:
    """How far a generation may be, with a rate and without."""
    return made(
        lambda counts, rate, **rest: Progress(
            by_status=dict(zip(ContactStatus, counts, strict=True)),
            per_second=rate,
            seconds_left=sum(counts) / rate if rate else None,
            **rest,
        ),
        st.tuples(*[_counts for _ in ContactStatus]),
        _maybe(st.floats(0.001, 1000)),
        spent=_amounts,
        reserved=_amounts,
        unknown_costs=_counts,
        budget=_maybe(_amounts),
    )


# --- Errors -------------------------------------------------------------------------------------


def violations() -> SearchStrategy[Violation]:
    """Violations of every code and kind of document."""
    return made(
        lambda found, message: Violation(found.path, found.code, message),
        st.one_of([documents.invalid(kind) for kind in documents.KINDS]),
        _words,
    )


_unmet = st.builds(Unmet, guard=_words, message=_words)
_guarded = st.sampled_from([line for line in lifecycle.TRANSITIONS if line.guards])
_refusals = st.one_of(
    made(lambda line, known: lifecycle.why_not(line.source, line.action, known), _guarded, facts()),
    made(lifecycle.why_not, st.sampled_from(Status), st.sampled_from(Action), facts()),
)

_ERRORS: dict[type[CampaignModelError], SearchStrategy[Any]] = {
    Conflict: st.builds(
        Conflict,
        reason=st.sampled_from(
            ["stale_version", "already_exists", "read_only", "still_referred_to"]
        ),
        message=_words,
    ),
    InvalidDocument: st.builds(
        InvalidDocument,
        document=st.sampled_from(documents.KINDS),
        violations=st.lists(violations(), min_size=1, max_size=3).map(tuple),
    ),
    LeaseLost: st.builds(LeaseLost, ids=_one_id_at_least),
    NotFound: st.builds(
        NotFound,
        kind=st.sampled_from(["campaign", "template", "owner", "contact", "tenant"]),
        ids=_one_id_at_least,
    ),
    TransitionNotAllowed: _refusals.filter(lambda error: error is not None),
}


def errors() -> SearchStrategy[CampaignModelError]:
    """Every error that the library raises on purpose."""
    return st.one_of([*_ERRORS.values()])


# --- By type ------------------------------------------------------------------------------------


def _within(generic: Any, otherwise: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """What stands in the brackets of a generic type, such as ``Page[Campaign]``."""
    arguments = get_args(generic)
    return st.from_type(arguments[0]) if arguments else otherwise


_repair = st.builds(
    Repair,
    path=st.sampled_from(["", "/0/label", "/1/step"]),
    code=st.sampled_from(["double_encoded", "defaulted", "renumbered"]),
    message=_words,
)

_BY_TYPE: dict[Any, Callable[[Any], SearchStrategy[Any]]] = {
    ActionState: lambda _: action_states(),
    Assigned: lambda _: st.builds(
        Assigned, added=_counts, already_there=_counts, unknown=_some_ids
    ),
    Campaign: lambda _: campaigns(),
    CampaignContact: lambda _: campaign_contacts(),
    CampaignModelError: lambda _: errors(),
    CampaignSummary: lambda _: campaign_summaries(),
    CampaignTemplate: lambda _: campaign_templates(),
    Changed: lambda _: st.builds(Changed, changed=_counts, skipped=_some_ids),
    Channel: lambda _: channels(),
    Claim: lambda _: claims(),
    ClaimBatch: lambda _: claim_batches(),
    Codec: lambda _: st.builds(Codec, vocabularies()),
    Cursor: lambda _: _cursors(),
    Estimate: lambda _: st.builds(Estimate, contacts=_counts, messages=_counts, cost=_costs),
    Facts: lambda _: facts(),
    GenerationConfig: lambda _: generation_configs(),
    HistoryEntry: lambda _: history_entries(),
    JsonObject: lambda _: json_objects(),
    MessageSlot: lambda _: message_slots(),
    Overlap: lambda _: st.builds(
        Overlap,
        contact_id=_ids,
        campaign_id=_ids,
        campaign_name=_names,
        status=st.sampled_from(ContactStatus),
        last_activity_at=_moments,
    ),
    Page: lambda generic: st.builds(
        Page,
        items=st.lists(_within(generic, campaign_summaries()), max_size=3).map(tuple),
        next=_maybe(_words),
    ),
    Progress: lambda _: progress(),
    Recovered: lambda generic: st.builds(
        Recovered,
        value=_within(generic, step_sequences()),
        repairs=_some(_repair),
    ),
    Removed: lambda _: st.builds(Removed, removed=_counts, kept=_some_ids),
    Renewal: lambda _: st.builds(
        Renewal, expires_at=_moments, lost=_some_ids, cancelled=st.booleans()
    ),
    Repair: lambda _: _repair,
    ReviewTally: lambda _: _tallies,
    SequenceDiff: lambda _: made(StepSequence.diff, step_sequences(), step_sequences()),
    Step: lambda _: steps(),
    StepSequence: lambda _: step_sequences(max_size=MAX_STEPS),
    Unmet: lambda _: _unmet,
    Violation: lambda _: violations(),
    Vocabulary: lambda _: vocabularies(),
    **{type_: lambda type_: _OUTCOMES[type_] for type_ in _OUTCOMES},
    **{type_: lambda type_: _ERRORS[type_] for type_ in _ERRORS},
}


def of_type(type_: Any) -> SearchStrategy[Any]:
    """What ``st.from_type`` draws for a public type of the library that is no enumeration.

    Raises ``KeyError`` for any other type.
    """
    return _BY_TYPE[get_origin(type_) or type_](type_)
