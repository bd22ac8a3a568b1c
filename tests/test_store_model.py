"""Campaigns and their contacts against a model in a few dictionaries, in any order of calls."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from campaign_model import lifecycle
from campaign_model.campaign import Campaign
from campaign_model.errors import LeaseLost, TransitionNotAllowed
from campaign_model.generation import Claim, Failed, Generated, Outcome, Recorded, Unfinished
from campaign_model.lifecycle import (
    CLAIMABLE,
    PERMISSIONS,
    Action,
    ContactAction,
    ContactStatus,
    Facts,
    Permission,
    ReviewTally,
    Status,
)
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_contacts, campaign_totals, campaigns
from campaign_model.testing.campaigns import STEPS
from world import LEASE, World

CENT = Decimal("0.01")
OUTCOMES: tuple[Outcome, ...] = (
    Generated(CENT),
    Generated(None),
    Failed("no_answer", "The model said nothing", CENT),
    Unfinished(),
)


@attrs.define
class Contact:
    """A campaign contact as the model keeps it."""

    status: ContactStatus = ContactStatus.PENDING
    gaps: tuple[str, ...] | None = None
    token: UUID | None = None
    ever_claimed: bool = False
    cost: Decimal = Decimal(0)
    unknown: int = 0

    def move(self, action: ContactAction) -> bool:
        """Go by the table; whether it knows the move."""
        target = lifecycle.apply_contact(self.status, action, self.gaps)
        if target is not None:
            self.status = target
        return target is not None


@attrs.define
class Kept:
    """A campaign as the model keeps it."""

    status: Status = Status.DRAFT
    active: bool = True
    version: int = 1
    name: str = "Campaign"
    contacts: dict[UUID, Contact] = attrs.field(factory=dict)
    erased: Decimal = Decimal(0)
    moves: list[Action] = attrs.field(factory=list)
    settled: bool = True

    def number(self, *statuses: ContactStatus) -> int:
        """How many contacts are in these."""
        return sum(one.status in statuses for one in self.contacts.values())


class Machine(RuleBasedStateMachine):
    """One transaction, never committed, in which calls follow each other as they come."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.connection = self.world.engine.connect()
        self.transaction = self.connection.begin()
        self.store = CampaignStore(self.connection, self.world.tenant_id)
        self.kept: dict[UUID, Kept] = {}
        self.claims: list[Claim] = []
        self.pool: list[UUID] = self.people

    people: list[UUID]

    def teardown(self) -> None:
        """Take everything back."""
        self.transaction.rollback()
        self.connection.close()

    def one(self, data: st.DataObject) -> tuple[UUID, Kept]:
        """Some campaign."""
        id_ = data.draw(st.sampled_from(list(self.kept)))
        return id_, self.kept[id_]

    def some(self, data: st.DataObject) -> list[UUID]:
        """Some contacts, known and not."""
        return data.draw(st.lists(st.sampled_from([*self.pool, uuid4()]), max_size=4))

    def permitted(self, permission: Permission, kept: Kept, call: Any) -> Any:
        """What the call returned, or ``None`` where the status forbids it and said so."""
        if kept.status in PERMISSIONS[permission]:
            return call()
        with pytest.raises(TransitionNotAllowed):
            call()
        return None

    @initialize()
    def first(self) -> None:
        """There is a campaign."""
        self.add()

    @precondition(lambda self: len(self.kept) < 2)
    @rule()
    def add(self) -> None:
        """One campaign more."""
        self.kept[self.store.campaigns.add(Campaign("Campaign", STEPS)).id] = Kept()

    @rule(data=st.data(), name=st.sampled_from(["A", "B"]))
    def save(self, data: st.DataObject, name: str) -> None:
        """Another name."""
        id_, kept = self.one(data)
        present = self.store.campaigns.get(id_)
        if name == kept.name:
            assert self.store.campaigns.save(present) == present
            return
        changed = attrs.evolve(present, name=name)
        if self.permitted(
            Permission.EDIT_DETAILS, kept, lambda: self.store.campaigns.save(changed)
        ):
            kept.name, kept.version = name, kept.version + 1

    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        """Contacts come."""
        id_, kept = self.one(data)
        ids = self.some(data)
        answer = self.permitted(
            Permission.ASSIGN_CONTACTS, kept, lambda: self.store.contacts.assign(id_, ids)
        )
        if answer is None:
            return
        known = {one for one in ids if one in self.pool}
        new = known - kept.contacts.keys()
        assert (answer.added, answer.already_there) == (len(new), len(known) - len(new))
        assert set(answer.unknown) == set(ids) - known
        kept.contacts |= {one: Contact() for one in new}
        kept.settled |= bool(new)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Contacts leave."""
        id_, kept = self.one(data)
        ids = self.some(data)
        answer = self.permitted(
            Permission.REMOVE_CONTACTS, kept, lambda: self.store.contacts.remove(id_, ids)
        )
        if answer is None:
            return
        there = {one: kept.contacts[one] for one in ids if one in kept.contacts}
        gone = {one for one, contact in there.items() if not contact.ever_claimed}
        assert (answer.removed, set(answer.kept)) == (len(gone), there.keys() - gone)
        kept.settled = True
        for one in gone:
            del kept.contacts[one]
        for one in there.keys() - gone:
            kept.contacts[one].move(ContactAction.EXCLUDE)

    @rule(data=st.data(), action=st.sampled_from(["exclude", "include", "ok", "needed"]))
    def move(self, data: st.DataObject, action: str) -> None:
        """Contacts change by themselves."""
        id_, kept = self.one(data)
        ids = self.some(data)
        contacts = self.store.contacts
        permission, by, gaps, call = {
            "exclude": (
                Permission.EXCLUDE_CONTACTS,
                ContactAction.EXCLUDE,
                None,
                lambda: contacts.exclude(id_, ids),
            ),
            "include": (
                Permission.INCLUDE_CONTACTS,
                ContactAction.INCLUDE,
                None,
                lambda: contacts.include(id_, ids),
            ),
            "ok": (
                Permission.SET_READINESS,
                ContactAction.MARK_OK,
                (),
                lambda: contacts.set_readiness(id_, dict.fromkeys(ids, ())),
            ),
            "needed": (
                Permission.SET_READINESS,
                ContactAction.MARK_NEEDED,
                ("phone",),
                lambda: contacts.set_readiness(id_, dict.fromkeys(ids, ("phone",))),
            ),
        }[action]
        answer = self.permitted(permission, kept, call)
        if answer is None:
            return
        kept.settled = True
        skipped = set()
        for one in set(ids):
            contact = kept.contacts.get(one)
            if contact is None or not contact.move(by):
                skipped.add(one)
                continue
            contact.gaps = contact.gaps if gaps is None else gaps
            if by is ContactAction.INCLUDE:
                contact.token = None
        assert (answer.changed, set(answer.skipped)) == (len(set(ids)) - len(skipped), skipped)

    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        """Contacts are forgotten everywhere; money isn't. (Unknown costs: see the record.)"""
        ids = [
            one
            for one in self.some(data)
            if not any(
                kept.contacts[one].unknown for kept in self.kept.values() if one in kept.contacts
            )
        ]
        rows = 0
        for kept in self.kept.values():
            for one in set(ids) & kept.contacts.keys():
                kept.erased += kept.contacts.pop(one).cost
                kept.settled = True
                rows += 1
        assert self.store.contacts.erase(ids) == rows

    @rule(data=st.data(), action=st.sampled_from(Action), approved=st.integers(0, 1))
    def apply(self, data: st.DataObject, action: Action, approved: int) -> None:
        """A campaign moves, or says why not."""
        id_, kept = self.one(data)
        flying = kept.number(ContactStatus.GENERATING)
        review = ReviewTally(approved, 0, 0)
        facts = Facts(
            enabled_steps=2,
            contacts=len(kept.contacts) - kept.number(ContactStatus.EXCLUDED),
            claimable=kept.number(*CLAIMABLE),
            in_flight=flying,
            generated=kept.number(ContactStatus.GENERATED),
            review=review,
        )
        expected = lifecycle.why_not(kept.status, action, facts)
        if expected is not None:
            with pytest.raises(TransitionNotAllowed) as caught:
                self.store.campaigns.apply(id_, action, review=review)
            assert attrs.astuple(caught.value) == attrs.astuple(expected)
            return
        line = lifecycle.apply(kept.status, action, facts)
        self.store.campaigns.apply(id_, action, review=review)
        kept.status, kept.version = line.target, kept.version + 1
        kept.active = kept.active and not line.deletes
        kept.moves.append(action)
        kept.settled = True

    @rule(data=st.data(), limit=st.integers(1, 3))
    def claim(self, data: st.DataObject, limit: int) -> None:
        """A worker comes."""
        id_, kept = self.one(data)
        batch = self.store.generation.claim(id_, limit, LEASE)
        may = kept.status in PERMISSIONS[Permission.CLAIM]
        assert len(batch.claims) == (min(limit, kept.number(*CLAIMABLE)) if may else 0)
        for claim in batch.claims:
            contact = kept.contacts[claim.contact_id]
            assert contact.status in CLAIMABLE
            contact.move(ContactAction.CLAIM)
            contact.token, contact.ever_claimed = claim.token, True
        self.claims += batch.claims

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def record(self, data: st.DataObject, outcome: Outcome) -> None:
        """A worker reports, in time or not."""
        claim = data.draw(st.sampled_from(self.claims))
        kept = self.kept[claim.campaign_id]
        kept.settled = False
        contact = kept.contacts.get(claim.contact_id)
        self.claims.remove(claim)
        if contact is None or contact.token != claim.token:
            with pytest.raises(LeaseLost):
                self.store.generation.record({claim: outcome})
            return
        answer = self.store.generation.record({claim: outcome})[claim]
        excluded = contact.status is ContactStatus.EXCLUDED
        assert answer is (Recorded.EXCLUDED if excluded else Recorded.APPLIED)
        contact.move(
            {
                Generated: ContactAction.SUCCEED,
                Failed: ContactAction.FAIL,
                Unfinished: ContactAction.RELEASE,
            }[type(outcome)]
        )
        contact.token = None
        contact.cost += outcome.cost or 0
        contact.unknown += outcome.cost is None

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """Failed contacts wait again."""
        id_, kept = self.one(data)
        answer = self.permitted(
            Permission.RETRY_FAILED, kept, lambda: self.store.generation.retry_failed(id_)
        )
        if answer is not None:
            kept.settled = True
            assert answer.changed == kept.number(ContactStatus.FAILED)
            for contact in kept.contacts.values():
                contact.move(ContactAction.RETRY)

    @invariant()
    def the_same(self) -> None:
        """The database says what the model says."""
        for id_, kept in self.kept.items():
            within = campaign_contacts.c.campaign_id == id_
            rows = self.connection.execute(sa.select(campaign_contacts).where(within)).all()
            assert {
                row.contact_id: (row.status, row.generation_cost, row.claim_token) for row in rows
            } == {
                one: (contact.status, contact.cost, contact.token)
                for one, contact in kept.contacts.items()
            }
            progress = self.store.generation.progress(id_)
            assert dict(progress.by_status) == {one: kept.number(one) for one in ContactStatus}
            spent = kept.erased + sum((one.cost for one in kept.contacts.values()), Decimal(0))
            unknown = sum(one.unknown for one in kept.contacts.values())
            assert (progress.spent, progress.unknown_costs) == (spent, unknown)
            stored = self.store.campaigns.get(id_)
            assert (stored.status, stored.is_active, stored.version, stored.name) == (
                kept.status,
                kept.active,
                kept.version,
                kept.name,
            )
            moves = [one.action for one in self.store.campaigns.history(id_)]
            assert moves == kept.moves
            if kept.settled:
                legacy = (campaigns.c.total_contacts, campaigns.c.generated_count)
                legacy_row = self.connection.execute(
                    sa.select(*legacy, campaigns.c.generation_cost).where(campaigns.c.id == id_)
                ).one()
                generated = kept.number(ContactStatus.GENERATED)
                assert tuple(legacy_row) == (progress.total, generated, spent)
            shards = sa.select(sa.func.count()).where(campaign_totals.c.campaign_id == id_)
            assert self.connection.execute(shards).scalar_one() <= 8


def test_any_calls_in_any_order_leave_what_the_model_says(engine: sa.Engine) -> None:
    world_ = World(engine)

    class OnThisEngine(Machine):
        world = world_
        people = world_.contacts(4)

    few = engine.dialect.name != "sqlite"
    run_state_machine_as_test(
        OnThisEngine,
        settings=settings(
            max_examples=4 if few else 15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
