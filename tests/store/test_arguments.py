"""Malformed user input raises an error of the library, or TypeError, in every public method.

Such a call writes nothing, and its transaction goes on. Two tables describe the input: ``GOOD`` has
good arguments for every method, ``MALFORMED`` has malformed values for every argument.
"""

from __future__ import annotations

import base64
import inspect
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import MAX_ACTOR, MAX_NAME, MAX_REASON, Campaign, CampaignTemplate
from campaign_model.claims import (
    MAX_DURATION,
    Claim,
    Cursor,
    Generated,
    Recorded,
    Unfinished,
)
from campaign_model.errors import Conflict, InvalidArgument, InvalidDocument, short_repr
from campaign_model.lifecycle import ReviewTally
from campaign_model.store import CampaignStore, HostTables
from campaign_model.store.types import FIRST_MOMENT, LAST_MOMENT
from campaign_model.testing.sample_campaigns import CENT, LEASE, STEPS, Tenant
from support.tenants import HOST
from support.transactions import all_rows, on_sqlite, open_store, rolled_back

DAY = timedelta(days=1)

# --- Good arguments of every method --------------------------------------------------------------


@attrs.frozen
class World:
    """The rows that the good arguments name."""

    draft: Campaign
    running: Campaign
    approved: Campaign
    review: Campaign
    exported: Campaign
    template: CampaignTemplate
    claims: tuple[Claim, ...]
    export_claims: tuple[Claim, ...]
    other_claim: Claim
    contact: Any
    new_contact: Any
    page: str
    contact_page: str


def make_world(tenant: Tenant) -> World:
    contacts = tenant.contacts(3)
    draft = tenant.campaign(contacts=contacts)
    running = tenant.campaign("generating", contacts=contacts, budget=Decimal(100))
    other_running = tenant.campaign("generating", contacts=contacts)
    template = CampaignTemplate("Own", STEPS)
    exported = tenant.campaign("exported", contacts=contacts)
    export_batch = tenant.transact(lambda store: store.export.claim(exported.id, 2, LEASE))
    page = tenant.transact(lambda store: store.campaigns.list(limit=1)).next
    contact_page = tenant.transact(lambda store: store.contacts.list(draft.id, limit=1)).next
    assert page is not None
    assert contact_page is not None
    return World(
        draft=draft,
        running=running,
        approved=tenant.campaign("approved", contacts=contacts),
        review=tenant.campaign("review", contacts=contacts),
        exported=exported,
        template=tenant.transact(lambda store: store.templates.add(template)),
        claims=tenant.claim(running.id, 2, reserve=CENT),
        export_claims=export_batch.claims,
        other_claim=tenant.claim(other_running.id, 1)[0],
        contact=contacts[0],
        new_contact=tenant.contacts(1)[0],
        page=page,
        contact_page=contact_page,
    )


TALLY = ReviewTally(1, 0, 0)
REVIEW = {"review": TALLY, "allow_empty": True, "allow_partial": True}

GOOD: dict[str, Callable[[World], dict[str, Any]]] = {
    "campaigns.add": lambda _: {"campaign": Campaign("New", STEPS)},
    "campaigns.get": lambda world: {
        "id": world.draft.id,
        "version": world.draft.version,
        "lock": "share",
    },
    "campaigns.list": lambda world: {
        "status": ["draft"],
        "owner_id": uuid4(),
        "template_id": world.template.id,
        "search": "x" * MAX_NAME,
        "deleted": True,
        "limit": 1,
        "after": world.page,
    },
    "campaigns.count_by_status": lambda world: {
        "owner_id": uuid4(),
        "template_id": world.template.id,
        "search": "%",
        "deleted": True,
    },
    "campaigns.save": lambda world: {"campaign": attrs.evolve(world.draft, name="Changed")},
    "campaigns.apply": lambda world: {
        "id": world.review.id,
        "action": "approve",
        "version": world.review.version,
        "reason": "x" * MAX_REASON,
        **REVIEW,
    },
    "campaigns.actions": lambda world: {"id": world.review.id, **REVIEW},
    "campaigns.clone": lambda world: {"id": world.draft.id, "name": "Clone"},
    "campaigns.history": lambda world: {"id": world.draft.id},
    "campaigns.present_messages": lambda world: {
        "id": world.review.id,
        "messages": HOST.messages,
    },
    "campaigns.review_tally": lambda world: {
        "id": world.review.id,
        "messages": HOST.messages,
        "is_approved": sa.true(),
        "is_rejected": sa.false(),
    },
    "templates.list": lambda _: {},
    "templates.get": lambda world: {"id": world.template.id},
    "templates.add": lambda _: {"template": CampaignTemplate("New", STEPS)},
    "templates.rename": lambda world: {"id": world.template.id, "name": "Changed", "version": 1},
    "templates.replace_steps": lambda world: {
        "id": world.template.id,
        "steps": STEPS.move("s1", 2),
        "version": 1,
    },
    "templates.remove": lambda world: {"id": world.template.id, "version": 1},
    "contacts.assign": lambda world: {
        "campaign_id": world.draft.id,
        "contacts": [(world.new_contact, 1)],
        "skip_active": True,
        "cooldown": timedelta.max,
    },
    "contacts.remove": lambda world: some_contacts(world.draft, world),
    "contacts.exclude": lambda world: some_contacts(world.draft, world),
    "contacts.include": lambda world: some_contacts(world.draft, world),
    "contacts.set_readiness": lambda world: {
        "campaign_id": world.draft.id,
        "gaps": {world.contact: ["phone"]},
    },
    "contacts.erase": lambda world: {
        "contact_ids": [world.contact],
        "delete_messages": lambda _connection: None,
    },
    "contacts.list": lambda world: {
        "campaign_id": world.draft.id,
        "status": ["pending"],
        "error_code": "no_email",
        "limit": 1,
        "after": world.contact_page,
    },
    "contacts.exportable": lambda world: {"campaign_id": world.approved.id},
    "contacts.overlaps": lambda world: {"campaign_id": world.draft.id},
    "generation.claim": lambda world: {
        "campaign_id": world.running.id,
        "limit": 1,
        "lease": LEASE,
        "reserve": CENT,
        "cursor": Cursor(),
        "max_attempts": 5,
    },
    "generation.renew": lambda world: {"claims": world.claims, "lease": LEASE},
    "generation.checkpoint": lambda world: {
        "claim": world.claims[0],
        "cost": CENT,
        "call_id": uuid4(),
    },
    "generation.record": lambda world: {
        "outcomes": dict.fromkeys(world.claims, Generated(CENT)),
        "on_lost": "raise",
    },
    "generation.release": lambda world: {"claims": world.claims},
    "generation.retry_failed": lambda world: some_contacts(world.review, world),
    "generation.regenerate": lambda world: {
        **some_contacts(world.review, world),
        "only_stale": True,
    },
    "generation.progress": lambda world: {"campaign_id": world.draft.id},
    "generation.estimate": lambda world: {"campaign_id": world.draft.id},
    "export.claim": lambda world: {
        "campaign_id": world.exported.id,
        "limit": 1,
        "lease": LEASE,
        "cursor": Cursor(),
    },
    "export.renew": lambda world: {"claims": world.export_claims, "lease": LEASE},
    "export.record": lambda world: {
        "claims": world.export_claims[:1],
        "release": world.export_claims[1:],
    },
    "export.release": lambda world: {"claims": world.export_claims},
}


def some_contacts(campaign: Campaign, world: World) -> dict[str, Any]:
    return {"campaign_id": campaign.id, "contact_ids": [world.contact]}


# --- Malformed values of every argument ----------------------------------------------------------

HUGE = 10**5000
"""Python refuses to write so many digits, so an error that repeats the value must not try."""

NO_WORDS: list[Any] = ["", "me", "\0", "\ud800", "x" * 100_000]
NO_TEXTS: list[Any] = [None, 0, HUGE, 1.5, b"me", [], {}, object()]
NO_SEARCHES: list[Any] = ["", "\0", "\ud800", "x" * (MAX_NAME + 1), *NO_TEXTS]
NO_IDS: list[Any] = [*NO_WORDS, *NO_TEXTS, True, str(uuid4())]
NO_ID_LISTS: list[Any] = [None, 5, "me", *([value] for value in NO_IDS), [[uuid4()]], [{}]]
NO_NUMBERS = [0, -1, 10**9, HUGE, 1.5, math.nan, True, "1", None, []]
NO_MONEY = [
    *(Decimal(text) for text in ("-1", "NaN", "sNaN", "Infinity", "1E-10", "1E9", "1E-99999999")),
    *(1.5, "1", b"", HUGE, [], True),
]
NO_OBJECTS = [None, 5, "me", {}, [], object(), uuid4()]


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


NO_PAGES = [
    *(*NO_WORDS, *NO_TEXTS, "%%%", "1:2", ":", encoded("nope"), encoded("2026-01-01 nope")),
    *(encoded(f"{moment} {uuid4()}") for moment in ("never", "9999-12-31T23:59:59-23:59")),
    *(f"{rank}:{uuid4()}" for rank in ("me", 2**64, "9" * 5000, "1.5")),
]


def malformed(world: World) -> dict[str, list[Any]]:
    """Return malformed values by the name of the argument, or by method and name."""
    claim, other_claim = world.claims[0], world.other_claim
    contact = world.contact
    no_claims: list[Any] = [
        None,
        5,
        "me",
        b"me",
        [None],
        [5],
        ["me"],
        [[]],
        [claim.id],
        [claim, other_claim],
    ]
    anything: list[Any] = []  # Every value is either true or false.
    return {
        "id": NO_IDS,
        "campaign_id": NO_IDS,
        "owner_id": NO_IDS,
        "template_id": NO_IDS,
        "call_id": NO_IDS,
        "contact_ids": NO_ID_LISTS,
        "contacts": [
            *NO_ID_LISTS,
            *([(contact, priority)] for priority in ("1", 1.5, True, None, 2**22, -(2**22), HUGE)),
            *([()], [(contact,)], [(contact, 1, 1)], [("me", 1)], [(5, 1)]),
        ],
        "campaign": NO_OBJECTS,
        "template": NO_OBJECTS,
        "steps": [*NO_OBJECTS, STEPS.steps],
        "claim": NO_OBJECTS,
        "claims": no_claims,
        "generation.renew.claims": [*no_claims, []],
        "export.renew.claims": [*no_claims, []],
        "release": no_claims,
        "outcomes": [
            *(None, 5, "me", [], {claim: None}, {claim: "generated"}),
            *({None: Generated(CENT)}, {"me": Generated(CENT)}),
            dict.fromkeys([claim, other_claim], Generated(CENT)),
        ],
        "messages": [*NO_OBJECTS, sa.table("messages")],
        **dict.fromkeys(("is_approved", "is_rejected"), NO_OBJECTS),
        "cursor": NO_OBJECTS,
        "limit": NO_NUMBERS,
        "max_attempts": NO_NUMBERS,
        "lease": [timedelta(0), timedelta(-1), timedelta.max, timedelta.min, 60, "60", None, HUGE],
        "cost": NO_MONEY,
        "reserve": NO_MONEY,
        "action": [*NO_WORDS, *NO_TEXTS],
        "on_lost": [*NO_WORDS, *NO_TEXTS],
        "status": [*NO_WORDS, 5, HUGE, *([value] for value in NO_TEXTS)],
        "search": NO_SEARCHES,
        "error_code": ["", "\0", "\ud800", *NO_TEXTS],
        "lock": [*NO_WORDS, "exclusive"],
        "cooldown": [timedelta(microseconds=-1), timedelta.min, 60, "60", 1.5, HUGE, []],
        "after": NO_PAGES,
        "version": [0, -1, HUGE, 1.5, "1", [], {}, b""],
        "name": ["", " ", "\0", "\ud800", "x" * (MAX_NAME + 1), *NO_TEXTS],
        "reason": ["", "\0", "\ud800", "x" * (MAX_REASON + 1), *NO_TEXTS],
        "gaps": [
            *(None, 5, "me", [], [contact], {"me": []}, {5: []}),
            *({contact: names} for names in (None, 5, "phone", [""], ["\0"], ["\ud800"], [None])),
        ],
        "review": [5, "me", {}, object(), lambda _connection: 5],
        "delete_messages": [5, "me"],
        **dict.fromkeys(("deleted", "only_stale", "skip_active"), anything),
        **dict.fromkeys(("allow_empty", "allow_partial"), anything),
    }


OTHER_NAMES = {
    "contacts": {"contacts", "priority"},
    "outcomes": {"claims"},
    "release": {"claims"},
    "gaps": {"gaps", "contact_ids"},
}
"""Arguments that are made of several values: the names in their errors."""


def methods() -> dict[str, Callable[..., Any]]:
    """Return every public method of the store by its name, such as ``campaigns.add``."""
    return {
        f"{part}.{name}": function
        for part, cls in inspect.get_annotations(CampaignStore, eval_str=True).items()
        for name, function in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


def arguments_of(method: str) -> dict[str, inspect.Parameter]:
    _, *parameters = inspect.signature(methods()[method]).parameters.values()
    return {parameter.name: parameter for parameter in parameters}


def call(store: CampaignStore, method: str, arguments: dict[str, Any]) -> None:
    part, name = method.split(".")
    answer = getattr(getattr(store, part), name)(**arguments)
    if inspect.isgenerator(answer):
        list(answer)


def wrong_answer(store: CampaignStore, method: str, argument: str, call_arguments: Any) -> str:
    """Make the call. Return what is wrong with its answer, or nothing."""
    try:
        call(store, method, call_arguments)
    except TypeError:
        return ""
    except InvalidArgument as error:
        is_named = error.argument in OTHER_NAMES.get(argument, {argument})
        is_right = is_named and error.code and error.http_status == 422 and len(str(error)) < 500
    except (Conflict, InvalidDocument) as error:
        is_right = argument in ("version", "name") and bool(error.code)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no error of the library
        return f"raised {error!r:.200}"
    else:
        return "raised nothing"
    return "" if is_right else "raised another error of the library"


@on_sqlite
def test_every_argument_of_every_method_of_the_store_is_in_the_tables(tenant: Tenant) -> None:
    world = make_world(tenant)
    assert methods().keys() == GOOD.keys()
    for method, good in GOOD.items():
        assert good(world).keys() == arguments_of(method).keys(), method
        for argument in arguments_of(method):
            assert {argument, f"{method}.{argument}"} & malformed(world).keys(), argument


def test_malformed_input_raises_an_error_of_the_library_and_writes_nothing(tenant: Tenant) -> None:
    world = make_world(tenant)
    table = malformed(world)
    with open_store(tenant) as store:
        before = all_rows(store.connection, tenant.id)
        for method, make_arguments in GOOD.items():
            good = make_arguments(world)
            wrong = []
            for name, parameter in arguments_of(method).items():
                for value in table.get(f"{method}.{name}", table.get(name, [])):
                    if value is None and parameter.default is None:
                        continue  # None has a meaning here.
                    answer = wrong_answer(store, method, name, good | {name: value})
                    if answer:
                        wrong.append(f"{name}={short_repr(value)} {answer}")
            assert wrong == [], method
            assert all_rows(store.connection, tenant.id) == before, method
            with rolled_back(store):  # The transaction goes on, and good arguments are accepted.
                call(store, method, good)


def test_malformed_arguments_of_a_store_are_refused(tenant: Tenant) -> None:
    with tenant.engine.begin() as connection:
        for tenant_id in NO_IDS:
            with pytest.raises((InvalidArgument, TypeError), match="tenant_id is a"):
                CampaignStore(connection, tenant_id)
        for actor in ("", "\0", "\ud800", "x" * (MAX_ACTOR + 1), *NO_TEXTS[1:]):
            with pytest.raises(InvalidArgument, match="actor is text"):
                CampaignStore(connection, tenant.id, actor=actor)
        for table_name in ("", "\0", "\ud800", *NO_TEXTS):
            with pytest.raises(InvalidArgument, match="owners is text"):
                HostTables(owners=table_name)
        CampaignStore(connection, tenant.id, actor="x" * MAX_ACTOR)
        for moment in (FIRST_MOMENT - DAY, LAST_MOMENT - MAX_DURATION + DAY):
            store = CampaignStore(connection, tenant.id, clock=lambda _: moment)  # noqa: B023
            with pytest.raises(InvalidArgument, match="the clock is from 0001-01-02"):
                store.campaigns.add(Campaign("New", STEPS))


@pytest.mark.parametrize("moment", [FIRST_MOMENT, LAST_MOMENT - MAX_DURATION])
def test_the_database_stores_the_longest_lease_at_the_ends_of_time(
    tenant: Tenant, moment: datetime
) -> None:
    running = tenant.campaign("generating", contacts=1)

    def claim_and_release(store: CampaignStore) -> None:
        (claim,) = store.generation.claim(running.id, 1, MAX_DURATION).claims
        assert claim.expires_at == moment + MAX_DURATION
        outcome = {claim: Unfinished(MAX_DURATION)}
        assert store.generation.record(outcome) == {claim: Recorded.APPLIED}

    tenant.transact(claim_and_release, clock=lambda _: moment)
