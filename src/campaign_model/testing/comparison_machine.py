"""The base of ``StoreMachine``: it makes every call of the store and of the model, and compares.

After each call the answers of store and model must be equal, and the database must have the
campaigns that the model has. An :class:`Interference` can disturb a call: a crash, overlapping
calls, or another tenant as caller. Each call runs in a transaction of its own, unless the rule
``transaction`` has begun one for several calls.
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
from campaign_model.store import CampaignStore, is_retryable, transact
from campaign_model.store.deleting import deleting
from campaign_model.store.tables import campaigns, metadata
from campaign_model.store.tenant_setting import choose_tenant
from campaign_model.testing._comparison import check_same, load_campaigns
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.death import Death
from campaign_model.testing.interference import (
    Crash,
    Interference,
    OtherTenant,
    Overlap,
    before_statement,
    close_connection,
    connection_without_waiting,
    die,
)
from campaign_model.testing.model import Model
from campaign_model.testing.model_state import ModelCampaign
from campaign_model.testing.parallel import answer_of
from campaign_model.testing.sample_campaigns import LEASE
from campaign_model.wire import DEFAULT

__all__ = ["ComparisonMachine"]


@attrs.frozen
class _Call:
    """One call: how to make it of the store and of the model.

    ``on_model`` also gets the store's answer, because the store may choose ids and tokens.
    """

    name: str
    on_store: Callable[[CampaignStore], Any]
    on_model: Callable[[Model, Any], Any]


class ComparisonMachine(RuleBasedStateMachine):
    """Makes calls of the store and of the model, and compares answers and contents."""

    engine: ClassVar[sa.Engine]
    tenant_id: ClassVar[UUID]
    contact_ids: ClassVar[Sequence[UUID]]
    options: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def on(
        cls, engine: sa.Engine, tenant_id: UUID, contact_ids: Sequence[UUID], **options: Any
    ) -> type[Self]:
        """Return a subclass that runs on this engine as this tenant."""
        attributes = {
            "engine": engine,
            "tenant_id": tenant_id,
            "contact_ids": contact_ids,
            "options": options,
        }
        return type(cls.__name__, (cls,), attributes)

    def __init__(self) -> None:
        super().__init__()
        self.clock: FrozenClock = FrozenClock()
        self._store_options: dict[str, Any] = {"clock": self.clock, **self.options}
        self.model: Model = Model(
            self.clock, frozenset(self.contact_ids), self.options.get("actor")
        )
        self.returned_campaigns: list[Campaign] = []
        """Every campaign that a call returned, oldest first."""
        self._interference: Interference | None = None
        """What disturbs the next call."""
        self._kept_back: list[_Call] = []
        """Calls that an ``Overlap`` keeps back until the outer call is under way."""
        self._open_store: CampaignStore | None = None
        """The store in the transaction that several calls share, if one is open."""
        self._model_at_begin = self.model
        """The model when that transaction began; a rollback returns to it."""
        if self._load_campaigns():
            raise ValueError(
                f"tenant {self.tenant_id} has campaigns: give the machine a tenant of its own"
            )

    def teardown(self) -> None:
        """Delete the tenant's campaigns."""
        self._lose_transaction()
        with self.engine.begin() as connection:
            choose_tenant(connection, self.tenant_id)
            self.clear(connection)
            with deleting(connection, self.tenant_id):
                for table in reversed(metadata.sorted_tables):
                    if table is campaigns or "campaign_id" in table.c:
                        is_own = table.c.tenant_id == self.tenant_id
                        connection.execute(sa.delete(table).where(is_own))

    def clear(self, connection: sa.Connection) -> None:
        """Override this to delete rows of your own that refer to the tenant's campaigns."""

    def both(self, name: str, *args: Any, **options: Any) -> None:
        """Make the call ``name``, such as ``contacts.assign``, of the store and of the model."""
        model_method = name.rpartition(".")[2]
        self.call(
            lambda store: attrgetter(name)(store)(*args, **options),
            lambda model, _answer: getattr(model, model_method)(*args, **options),
            name=name,
        )

    def call(
        self,
        on_store: Callable[[CampaignStore], Any],
        on_model: Callable[[Model, Any], Any],
        *,
        name: str = "call",
    ) -> None:
        """Make a call of the store and of the model, and compare answers and contents.

        ``on_model`` gets the model and the store's answer. Error messages contain ``name``. The
        interference that ``next_call`` announced happens to this call.
        """
        call = _Call(name, on_store, on_model)
        match self._interference:
            case None:
                self.model = _next_model(self.model, call, self._run(call))
            case Crash(at, how):
                self._interference = None
                self._run_crashing(call, at, how)
            case Overlap(_, number) if len(self._kept_back) < number:
                self._kept_back.append(call)
            case Overlap(at):
                inner_calls, self._kept_back = self._kept_back, []
                self._interference = None
                self._run_overlapping(call, at, inner_calls)
            case OtherTenant():
                self._interference = None
                # A tenant without rows must get the answers of an empty model.
                _next_model(Model(self.clock), call, self._run(call, tenant_id=uuid4()))
        self.check(self.model)

    def check(self, model: Model) -> None:
        """Raise ``AssertionError`` unless the database has the campaigns that ``model`` has."""
        stored_campaigns = self._load_campaigns()
        model.learn_row_ids(stored_campaigns)
        check_same(stored_campaigns, model.campaigns, "campaigns")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a connection that sees the effects of all calls so far, committed or not."""
        if self._open_store is not None:
            choose_tenant(self._open_store.connection, self.tenant_id)
            yield self._open_store.connection
            return
        with self.engine.connect() as connection:
            choose_tenant(connection, self.tenant_id)
            yield connection

    # Rules: transactions, interference, time.

    @precondition(lambda self: not isinstance(self._interference, Overlap))
    @rule(commits=st.booleans())
    def transaction(self, *, commits: bool) -> None:
        """Begin a transaction for the next calls. If one is open, commit it or roll it back.

        A rollback also takes the model back to the time before the transaction. The check at the
        end reads within the open transaction, if one was begun.
        """
        if self._open_store is None:
            connection = self.engine.connect()
            connection.begin()
            self._open_store = self._store(connection, self.tenant_id)
            self._model_at_begin = self.model.copy()
        else:
            connection = self._open_store.connection
            if commits:
                connection.commit()
            else:
                connection.rollback()
                self.model = self._model_at_begin
            connection.close()
            self._open_store = None
        self.check(self.model)

    @precondition(lambda self: self._interference is None)
    @rule(
        interference=st.one_of(
            st.builds(Crash, at=st.integers(0, 12), how=st.sampled_from([die, close_connection])),
            st.builds(Overlap, at=st.integers(0, 12), number=st.sampled_from([1, 1, 2])),
            st.builds(OtherTenant),
        )
    )
    def next_call(self, interference: Interference) -> None:
        """Let the interference happen to the next call."""
        if self._open_store is not None and isinstance(interference, Overlap):
            self.transaction(commits=True)
        self._interference = interference

    @rule(by=st.sampled_from([timedelta(seconds=1), LEASE, 2 * LEASE, -timedelta(minutes=1)]))
    def time_passes(self, by: timedelta) -> None:
        """Move the clock forward, so that leases and pauses end, or set it back."""
        self.clock.forward(by)

    # Running calls.

    def _store(self, connection: sa.Connection, tenant_id: UUID) -> CampaignStore:
        return CampaignStore(connection, tenant_id, **self._store_options)

    def _load_campaigns(self) -> dict[UUID, ModelCampaign]:
        with self.reading() as connection:
            return load_campaigns(connection, self.tenant_id, self.options.get("codec", DEFAULT))

    def _run(
        self,
        call: _Call,
        *,
        tenant_id: UUID | None = None,
        at: int = 0,
        action: Callable[[sa.Connection], None] = lambda _connection: None,
    ) -> Any:
        """Make the call of the store, in the open transaction or in a new one; return the answer.

        ``action`` is called before statement ``at`` of the call.
        """
        tenant_id = tenant_id or self.tenant_id

        def work(store: CampaignStore) -> Any:
            with before_statement(store.connection, at, action):
                return self._answer(call, store)

        if self._open_store is None:
            return transact(self.engine, tenant_id, work, **self._store_options)
        return work(self._store(self._open_store.connection, tenant_id))

    def _answer(self, call: _Call, store: CampaignStore) -> Any:
        """Make the call of this store and return its answer. Note a campaign that it returns."""
        answer = answer_of(lambda: call.on_store(store))
        if isinstance(answer, Campaign):
            self.returned_campaigns.append(answer)
        return answer

    def _answers(self, calls: Sequence[_Call], store: CampaignStore) -> list[Any]:
        return [self._answer(call, store) for call in calls]

    def _run_crashing(self, call: _Call, at: int, how: Callable[[sa.Connection], None]) -> None:
        """Make a call of the store that crashes. In the model, undo the open transaction."""
        crashed = False

        def crash(connection: sa.Connection) -> None:
            nonlocal crashed
            crashed = True
            how(connection)

        try:
            self._run(call, at=at, action=crash)
        except (Death, sa.exc.DBAPIError):
            if not crashed:
                raise
        self._lose_transaction()

    def _lose_transaction(self) -> None:
        """If a transaction is open, lose its connection, and take the model back to its begin."""
        if self._open_store is not None:
            self._open_store.connection.invalidate()
            self._open_store.connection.close()
            self._open_store, self.model = None, self._model_at_begin

    def _run_overlapping(self, call: _Call, at: int, inner_calls: Sequence[_Call]) -> None:
        """Make ``inner_calls`` in a transaction of their own while ``call`` is at statement ``at``.

        If a lock of ``call`` would make the inner calls wait, make them after ``call`` instead.
        Otherwise all answers, and the contents of the database, must be those of one of two orders:
        ``call`` before all inner calls, or after them.
        """
        # 1. Make the calls of the store.
        inner_answers: list[Any] = []

        def make_inner_calls(_connection: sa.Connection) -> None:
            # If the store tries the outer transaction again, the inner calls have been made.
            if not inner_answers:
                inner_answers.extend(self._answers_without_waiting(inner_calls))

        outer = (call, self._run(call, at=at, action=make_inner_calls))
        # 2. The inner calls had to wait: make them now, and compare call by call.
        if not inner_answers:
            self.model = _next_model(self.model, *outer)
            inner_answers = transact(
                self.engine,
                self.tenant_id,
                lambda store: self._answers(inner_calls, store),
                **self._store_options,
            )
            for inner in zip(inner_calls, inner_answers, strict=True):
                self.model = _next_model(self.model, *inner)
            return
        # 3. They did not wait: find an order in which the model gives the same answers.
        inner_pairs = [*zip(inner_calls, inner_answers, strict=True)]
        faults = []
        for order in ([outer, *inner_pairs], [*inner_pairs, outer]):
            try:
                model = attrs.evolve(self.model, concurrent=True)
                for pair in order:
                    model = _next_model(model, *pair)
                self.check(model)
            except AssertionError as fault:
                faults.append(str(fault))
            else:
                self.model = attrs.evolve(model, concurrent=False)
                return
        names = ", ".join(inner_call.name for inner_call in inner_calls)
        raise AssertionError(
            f"{names} ran while {call.name} was open, and no order of them explains the result.\n"
            f"With {call.name} first:\n{faults[0]}\nWith {call.name} last:\n{faults[1]}"
        )

    def _answers_without_waiting(self, calls: Sequence[_Call]) -> list[Any]:
        """Make the calls while another transaction is open. Return their answers.

        If one of them would have to wait for a lock, roll all of them back and return no answers.
        """
        with connection_without_waiting(self.engine) as connection:
            try:
                answers = self._answers(calls, self._store(connection, self.tenant_id))
                connection.commit()
            except sa.exc.DBAPIError as error:
                connection.rollback()
                if not is_retryable(error):
                    raise
                return []
            return answers


def _next_model(model: Model, call: _Call, answer: Any) -> Model:
    """Return the model after a call. ``answer`` is the store's answer to the same call.

    Raises ``AssertionError`` if the model's answer differs from the store's.
    """
    after = model.copy()
    try:
        expected = answer_of(lambda: call.on_model(after, answer))
    except Exception as error:
        error.add_note(f"The store answered {call.name} with {answer!r}")
        raise
    check_same(answer, expected, f"answer of {call.name}")
    # A refused call changes nothing.
    return model if isinstance(expected, CampaignModelError) else after
