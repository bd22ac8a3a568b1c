"""A store and a model side by side: what is asked of the one is asked of the other.

And what befalls calls: they share a transaction or have their own, their process or connection
dies between two statements, another worker comes in between, or the caller is a stranger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from operator import attrgetter
from typing import Any, ClassVar, Self
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from campaign_model.campaign import Campaign
from campaign_model.errors import CampaignModelError
from campaign_model.store import CampaignStore, transact
from campaign_model.store.tables import campaigns, metadata
from campaign_model.testing._comparison import check_same, stored
from campaign_model.testing._interference import (
    ProcessDied,
    at_statement,
    close,
    die,
    impatient,
    would_wait,
)
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.model import Model
from campaign_model.wire import DEFAULT

__all__ = ["Call", "Dies", "IsAStrangers", "IsLate", "SideBySide"]

LEASE = timedelta(minutes=5)


@attrs.frozen
class Call:
    """One call: of the store, and of the model, which is shown what the store answered."""

    of_store: Callable[[CampaignStore], Any]
    of_model: Callable[[Model, Any], Any]


@attrs.frozen
class Dies:
    """The next call ends before its statement ``at`` (from 0), or before the commit."""

    at: int
    how: Callable[[sa.Connection], None]


@attrs.frozen
class IsLate:
    """The next calls are held up: another worker makes them, in a transaction of its own.

    It comes before statement ``at`` of the call after them, or before that one's commit.
    """

    at: int
    number: int = 1
    held_up: tuple[Call, ...] = ()


@attrs.frozen
class IsAStrangers:
    """The next call comes from another tenant, who finds nothing and changes nothing."""


class SideBySide(RuleBasedStateMachine):
    """Makes calls of a store and of a model, and compares: the ground of ``StoreMachine``."""

    engine: ClassVar[sa.Engine]
    tenant_id: ClassVar[UUID]
    contact_ids: ClassVar[Sequence[UUID]]
    options: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def on(
        cls, engine: sa.Engine, tenant_id: UUID, contact_ids: Sequence[UUID], **options: Any
    ) -> type[Self]:
        """The machine to run there: a subclass that says so."""
        where = {
            "engine": engine,
            "tenant_id": tenant_id,
            "contact_ids": contact_ids,
            "options": options,
        }
        return type(cls.__name__, (cls,), where)

    def __init__(self) -> None:
        super().__init__()
        self.clock = FrozenClock()
        self.model = Model(self.clock, frozenset(self.contact_ids), self.options.get("actor"))
        self.seen: list[Campaign] = []
        """Every campaign that somebody has on a screen, however old."""
        self._open: CampaignStore | None = None
        self._before = self.model
        self._next: Dies | IsLate | IsAStrangers | None = None
        if self._stored():
            raise ValueError("the machine wants a tenant of its own; this one has campaigns")

    def teardown(self) -> None:
        """Delete the tenant's campaigns."""
        self._lose_transaction()
        with self.engine.begin() as connection:
            self.clear(connection)
            for table in reversed(metadata.sorted_tables):
                if table is campaigns or "campaign_id" in table.c:
                    connection.execute(sa.delete(table).where(table.c.tenant_id == self.tenant_id))

    def clear(self, connection: sa.Connection) -> None:
        """Delete the rows of yours that refer to the tenant's campaigns. Here there are none."""

    def both(self, name: str, *args: Any, **options: Any) -> None:
        """Make the call of that name, say ``contacts.assign``, of the store and of the model."""
        of_model = name.rpartition(".")[2]
        self.call(
            lambda store: attrgetter(name)(store)(*args, **options),
            lambda model, _: getattr(model, of_model)(*args, **options),
        )

    def call(
        self, of_store: Callable[[CampaignStore], Any], of_model: Callable[[Model, Any], Any]
    ) -> None:
        """Make a call of both. Their answers have to be the same, and then what they hold.

        ``of_model`` is shown the store's answer too, for what is the store's choice.
        """
        call = Call(of_store, of_model)
        befalls, self._next = self._next, None
        match befalls:
            case None:
                self.model = _agreed(self.model, call, self._answer(call))
            case Dies(at, how):
                self._die(call, at, how)
            case IsLate(at, number, held_up) if len(held_up) < number:
                self._next = IsLate(at, number, (*held_up, call))
            case IsLate(at, _, late):
                self._overlap(call, at, late)
            case IsAStrangers():
                _agreed(Model(self.clock), call, self._answer(call, uuid4()))
        self.check(self.model)

    def check(self, model: Model) -> None:
        """Hold all that the database has of the tenant's campaigns against ``model``."""
        found = self._stored()
        model.learn_ids(found)
        check_same(found, model.campaigns, "campaigns")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees what the calls so far have left."""
        if self._open is not None:
            yield self._open.connection
            return
        with self.engine.connect() as connection:
            yield connection

    # What befalls calls.

    @precondition(lambda self: not isinstance(self._next, IsLate))
    @rule(commits=st.booleans())
    def transaction(self, *, commits: bool) -> None:
        """From here on calls share one; or it ends, and was for good or never was."""
        if self._open is None:
            connection = self.engine.connect()
            connection.begin()
            self._open = self._store(connection, self.tenant_id)
            self._before = self.model.copy()
        elif commits:
            self._open.connection.commit()
            self._open.connection.close()
            self._open = None
        else:
            self._open.connection.rollback()
            self._lose_transaction()
        self.check(self.model)

    @precondition(lambda self: self._next is None)
    @rule(
        befalls=st.one_of(
            st.builds(Dies, at=st.integers(0, 12), how=st.sampled_from([die, close])),
            st.builds(IsLate, at=st.integers(0, 12), number=st.sampled_from([1, 1, 2])),
            st.builds(IsAStrangers),
        )
    )
    def next_call(self, befalls: Dies | IsLate | IsAStrangers) -> None:
        """Something befalls the call that comes next."""
        if self._open is not None and isinstance(befalls, IsLate):
            self.transaction(commits=True)
        self._next = befalls

    @rule(by=st.sampled_from([timedelta(seconds=1), LEASE, 2 * LEASE, -timedelta(minutes=1)]))
    def time_passes(self, by: timedelta) -> None:
        """Leases and pauses run out; or the clock was wrong."""
        self.clock.forward(by)

    # How that is done.

    @property
    def _settings(self) -> dict[str, Any]:
        return {"clock": self.clock, **self.options}

    def _store(self, connection: sa.Connection, tenant_id: UUID) -> CampaignStore:
        return CampaignStore(connection, tenant_id, **self._settings)

    def _stored(self) -> Any:
        with self.reading() as connection:
            return stored(connection, self.tenant_id, self.options.get("codec", DEFAULT))

    def _answer(
        self,
        call: Call,
        tenant_id: UUID | None = None,
        *,
        at: int = 0,
        happen: Callable[[sa.Connection], None] | None = None,
    ) -> Any:
        """What the store says, in the open transaction or in one of its own."""

        def work(store: CampaignStore) -> Any:
            if happen is None:
                return self._said(call, store)
            with at_statement(store.connection, at, happen):
                return self._said(call, store)

        if self._open is None:
            return transact(self.engine, tenant_id or self.tenant_id, work, **self._settings)
        return work(self._store(self._open.connection, tenant_id or self.tenant_id))

    def _said(self, call: Call, store: CampaignStore) -> Any:
        answer = _or_refusal(lambda: call.of_store(store))
        if isinstance(answer, Campaign):
            self.seen.append(answer)
        return answer

    def _die(self, call: Call, at: int, how: Callable[[sa.Connection], None]) -> None:
        """The transaction is gone with all its calls, and the model knows nothing of them."""
        died = False

        def happen(connection: sa.Connection) -> None:
            nonlocal died
            died = True
            how(connection)

        try:
            self._answer(call, at=at, happen=happen)
        except (ProcessDied, sa.exc.DBAPIError):
            if not died:
                raise
        self._lose_transaction()

    def _lose_transaction(self) -> None:
        if self._open is not None:
            self._open.connection.invalidate()
            self._open.connection.close()
            self._open, self.model = None, self._before

    def _overlap(self, call: Call, at: int, late: tuple[Call, ...]) -> None:
        """The others first or last: one of the two explains all answers, and what there is then."""
        answers: list[Any] = []

        def happen(_connection: sa.Connection) -> None:
            if not answers:  # A transaction that is run once more is not overtaken once more.
                answers.extend(self._at_once(late))

        first = (call, self._answer(call, at=at, happen=happen))
        if not answers:
            self.model = _agreed(self.model, *first)
            answers = transact(self.engine, self.tenant_id, self._all(late), **self._settings)
            for one in zip(late, answers, strict=True):
                self.model = _agreed(self.model, *one)
            return
        others = [*zip(late, answers, strict=True)]
        faults = []
        for order in ([first, *others], [*others, first]):
            try:
                model = attrs.evolve(self.model, crowded=True)
                for one in order:
                    model = _agreed(model, *one)
                self.check(model)
            except AssertionError as fault:
                faults.append(str(fault))
            else:
                self.model = attrs.evolve(model, crowded=False)
                return
        raise AssertionError(
            "calls overlapped, and no order of them explains what came of it."
            f"\nThe late ones last:\n{faults[0]}\nThe late ones first:\n{faults[1]}"
        )

    def _all(self, calls: tuple[Call, ...]) -> Callable[[CampaignStore], list[Any]]:
        return lambda store: [self._said(call, store) for call in calls]

    def _at_once(self, calls: tuple[Call, ...]) -> list[Any]:
        """The answers of calls beside an open transaction; none if they would have to wait."""
        with impatient(self.engine) as connection:
            try:
                answers = self._all(calls)(self._store(connection, self.tenant_id))
                connection.commit()
            except sa.exc.DBAPIError as error:
                connection.rollback()
                if not would_wait(error):
                    raise
                return []
            return answers


def _or_refusal(call: Callable[[], Any]) -> Any:
    """What the call returns, or the library's error that it raises."""
    try:
        return call()
    except CampaignModelError as refusal:
        return refusal


def _agreed(model: Model, call: Call, answer: Any) -> Model:
    """What the model is after a call that the store has answered so."""
    after = model.copy()
    try:
        expected = _or_refusal(lambda: call.of_model(after, answer))
    except Exception as error:
        error.add_note(f"The store answered {answer!r}")
        raise
    check_same(answer, expected, "answer")
    return model if isinstance(expected, CampaignModelError) else after
