"""The attack: random calls of every public method by one tenant with the ids of another one.

One call of the attack:

1. Draw a method and its arguments (:mod:`attack.arguments`), and call the method in a savepoint.
2. Look whether a row of the victim was changed or locked (:mod:`attack.watch`).
3. Roll back, and call the method with the twin of the arguments: each id of the victim is replaced
   by an id that no row has. The two answers, or the two errors, must be equal.
4. The answer must not contain an id or a text of the victim that the arguments do not contain.

A round makes new tenants, makes many such calls in one transaction, and then some that commit. In
every second round on PostgreSQL another transaction holds the locks of all of the victim's rows:
a call that waits for one of them fails.

Everything is drawn from a seeded generator. Every call begins in the same state, so a seed and the
number of a call suffice to repeat the call, and there is nothing to shrink.
"""

from __future__ import annotations

import inspect
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from attack.arguments import Draw, IdQuery, draw_arguments, replace_ids
from attack.watch import Watch
from attack.world import CLOCK, TENANT_TABLES, Belongings, make_belongings
from campaign_model import db
from campaign_model.campaign import Assigned
from campaign_model.claims import Generated
from campaign_model.errors import CampaignModelError, TransactionAborted
from campaign_model.store import CampaignStore, transact
from campaign_model.store.locking import gate_key
from campaign_model.testing.sample_campaigns import CENT
from campaign_model.worker import run_export, run_worker
from support.tenants import HOST

CALLS_PER_ROUND = 4000
COMMITTED_PER_ROUND = 40

ROLL_BACK = "ROLLBACK TO attack"
"""Takes a call back. The savepoint stays."""

FAULT = "error of the program"
"""The answer of a call that raised an error which is not documented."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CUT = re.compile(r"[0-9a-f-]*\.\.\.[0-9a-f-]*")
"""The place at which a message cuts the text of a long value, which may be within an id."""

_PRESENT_TIME = re.compile(r"datetime\.datetime\((?!2026, 1, |2025, 12, )[^)]*\)")
"""Any time that is not near that of ``CLOCK``: the time of the database."""


def list_methods() -> tuple[str, ...]:
    """Return the public methods of all parts of the store, such as ``campaigns.get``."""
    return tuple(
        f"{part}.{name}"
        for part, cls in inspect.get_annotations(CampaignStore, eval_str=True).items()
        for name, _ in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    )


METHODS = list_methods()


@attrs.frozen
class Leak:
    """A call that broke the promise, and how."""

    number: int
    call: str
    what: str


@attrs.define
class Report:
    """What an attack has done: calls by method, and how many of them were not refused."""

    leaks: list[Leak] = attrs.field(factory=list)
    calls: Counter[str] = attrs.field(factory=Counter)
    successes: Counter[str] = attrs.field(factory=Counter)


class Attack:
    """Attacks the store on one engine. ``attacker_engine`` may connect with another role."""

    def __init__(
        self,
        engine: sa.Engine,
        seed: int,
        *,
        methods: Sequence[str] = METHODS,
        attacker_engine: sa.Engine | None = None,
    ) -> None:
        self.engine = db.prepare_engine(engine)
        self.attacker_engine = attacker_engine or engine
        self.methods = methods
        self._queue: list[str] = []
        self.random = random.Random(seed)
        self.report = Report()
        self._number = 0

    def run(self, calls: int) -> Report:
        """Make ``calls`` calls, in rounds. Stop after the first round that finds a leak."""
        rounds = max(1 if calls < 100 else 2, -(-calls // CALLS_PER_ROUND))
        for index in range(rounds):
            end = calls * (index + 1) // rounds
            self._run_round(end - self._number, hold_locks=index % 2 == 1)
            if self.report.leaks:
                break
        return self.report

    def make_tenants(self) -> None:
        """Make a new attacker and a new victim."""
        self._own = make_belongings(self.engine, f"own{self.random.getrandbits(32):x}")
        self._word = f"theirs{self.random.getrandbits(32):x}"
        self._victim = make_belongings(self.engine, self._word)
        self._draw = Draw(self.random, self._own, self._victim)
        # Twins differ in the last bits only, so that they sort as the ids do.
        self._twins = {id_: UUID(int=id_.int ^ 0x5A5A) for id_ in self._victim.all_ids}
        self._placeholders = {
            str(each): f"<{number}>"
            for number, pair in enumerate(self._twins.items())
            for each in pair
        }

    def _run_round(self, number: int, *, hold_locks: bool) -> None:
        self.make_tenants()
        with _locked(self._victim, hold=hold_locks), self._watching():
            committed = min(COMMITTED_PER_ROUND, number // 10)
            with self._connect() as connection:
                for _ in range(number - committed):
                    self._attack_once(connection)
                if self.attacker_engine is self.engine:
                    self._remove_attacker(connection)
            for _ in range(committed):
                self._attack_and_commit()
            with self.engine.connect() as connection:
                self._note(self._watch.find_changes(connection), "the round")
                self._note(self._watch.find_traces(connection), "the round")

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Watch the victim's rows. A role that does not see them needs another's connection."""
        if self.attacker_engine is self.engine:
            self._watch = Watch(self._victim, self._own)
            yield
            return
        with self.engine.connect() as observer:
            observer.execution_options(isolation_level="AUTOCOMMIT")
            self._watch = Watch(self._victim, self._own, observer)
            yield

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        """Begin a transaction of the attacker that waits for no lock."""
        with self.attacker_engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            # This sends the setting of the tenant (row-level security), which the savepoint keeps.
            CampaignStore(connection, self._own.tenant.id).templates.list()
            connection.exec_driver_sql("SAVEPOINT attack")
            yield connection
            connection.rollback()

    def _attack_once(self, connection: sa.Connection) -> None:
        """Make one call and its twin, each rolled back, and compare the answers."""
        self._number += 1
        name = self._next_method()
        arguments, twin = self.draw_call(name)
        answer = self._answer(connection, name, arguments)
        if answer == FAULT:
            connection.exec_driver_sql(ROLL_BACK)
            return
        found = self._watch.find_traces(connection)
        connection.exec_driver_sql(ROLL_BACK)
        description = f"{name}({arguments!r})"
        self._note(found, description)
        given = repr(arguments)
        self._note(self._find_data(answer, given), description)
        self.report.calls[name] += 1
        self.report.successes[name] += not answer.startswith("error ")
        if twin == arguments and not self._has_taken_id(name, arguments):
            return
        twin_answer = self._answer(connection, name, twin)
        connection.exec_driver_sql(ROLL_BACK)
        answer = self._masked(answer, name, arguments)
        twin_answer = self._masked(twin_answer, name, twin)
        if answer != twin_answer:
            self._note(f"{answer}\nfor an id that no row has: {twin_answer}", description)

    def _next_method(self) -> str:
        """Choose a method. Each one comes equally often."""
        if not self._queue:
            self._queue = [*self.methods]
            self.random.shuffle(self._queue)
        return self._queue.pop()

    def draw_call(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw the arguments of a call, and their twin."""
        part, _, method = name.partition(".")
        function = getattr(inspect.get_annotations(CampaignStore, eval_str=True)[part], method)
        function = _without_self(function)
        arguments = draw_arguments(self._draw, part, function)
        twin = replace_ids(arguments, self._twins)
        if self._has_taken_id(name, arguments):
            # Decision 23: an id that is taken is refused. The answer is that for an own id.
            field, kind = _NEW_ROWS[name]
            id_ = self._own.ids[kind][0]
            twin[field] = attrs.evolve(twin[field], id=id_)
        return arguments, twin

    def _has_taken_id(self, name: str, arguments: dict[str, Any]) -> bool:
        """Tell whether the call adds a row with the id of one of the victim's rows of its kind."""
        field, kind = _NEW_ROWS.get(name, ("", ""))
        id_ = getattr(arguments.get(field), "id", None)
        return bool(field) and id_ in self._victim.ids[kind]

    def _answer(self, connection: sa.Connection, name: str, arguments: dict[str, Any]) -> str:
        """Call the method and return its answer, or the error, as text."""
        random.seed(0)  # The store chooses a shard of the totals.
        part, _, method = name.partition(".")
        built = {
            key: value.build() if isinstance(value, IdQuery) else value
            for key, value in arguments.items()
        }
        try:
            store = CampaignStore(connection, self._own.tenant.id, clock=CLOCK)
            answer = getattr(getattr(store, part), method)(**built)
            if isinstance(answer, Iterator):
                answer = list(answer)
            if isinstance(answer, Assigned):
                # The ids of a query have no order.
                answer = attrs.evolve(answer, unknown=tuple(sorted(answer.unknown)))
            if isinstance(answer, sa.ColumnElement):
                query = sa.select(HOST.messages.c.id).where(answer)
                answer = sorted(map(str, connection.scalars(query)))
        except CampaignModelError as error:
            return f"error {type(error).__name__} {error.to_dict()!r}"
        except TypeError as error:
            return f"error TypeError {error}"
        except Exception as error:  # noqa: BLE001 - every other error is a fault
            self._note(f"raised {type(error).__name__}: {error}", f"{name}({arguments!r})")
            return FAULT
        return repr(answer)

    def _find_data(self, answer: str, given: str) -> str | None:
        """Say which data of the victim the answer contains that the arguments do not contain."""
        known = {*_UUID.findall(given)}
        ids = {each for each in _UUID.findall(answer) if each in self._placeholders} - known
        if ids:
            return f"the answer contains ids of the victim: {ids}"
        if self._word in answer and self._word not in given:
            return f"the answer contains a text of the victim: {answer}"
        return None

    def _masked(self, answer: str, name: str, arguments: dict[str, Any]) -> str:
        """Replace what may differ: ids of the victim and their twins, new ids, the present time."""
        new_ids: dict[str, str] = {}
        own_ids = {str(id_) for id_ in self._own.all_ids}
        id_of_new_row = str(getattr(arguments.get(_NEW_ROWS.get(name, ("",))[0]), "id", None))

        def mask(found: re.Match[str]) -> str:
            id_ = found[0]
            if id_ == id_of_new_row:
                return "<id of the new row>"
            if id_ in self._placeholders:
                return self._placeholders[id_]
            if id_ in own_ids:
                return id_
            return new_ids.setdefault(id_, f"<new {len(new_ids)}>")

        return _CUT.sub("...", _PRESENT_TIME.sub("<now>", _UUID.sub(mask, answer)))

    def _remove_attacker(self, connection: sa.Connection) -> None:
        """Delete everything of the attacker, with the rights of the tables' owner."""
        self._number += 1
        self.report.calls["db.remove_tenant"] += 1
        is_own = HOST.messages.c.tenant_id == self._own.tenant.id
        db.remove_tenant(
            connection,
            self._own.tenant.id,
            delete_messages=lambda each: each.execute(sa.delete(HOST.messages).where(is_own)),
        )
        self._note(self._watch.find_traces(connection), "db.remove_tenant")

    def _attack_and_commit(self) -> None:
        """Make one call in a transaction that commits, or run a worker and an exporter."""
        if self.random.random() < 0.2:
            self._attack_with_workers()
            return
        self._number += 1
        name = self._next_method()
        arguments, _ = self.draw_call(name)
        self.report.calls[name] += 1

        def work(store: CampaignStore) -> None:
            if store.connection.dialect.name == "postgresql":
                store.connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            self._answer(store.connection, name, arguments)

        try:
            transact(self.attacker_engine, self._own.tenant.id, work)
        except TransactionAborted as error:
            self._note(str(error), name)

    def _attack_with_workers(self) -> None:
        """Start a worker and an exporter for a campaign of the victim, and for none."""
        id_ = self.random.choice(self._victim.ids["campaigns"])
        tenant_id = self._own.tenant.id
        starts: dict[str, Callable[[UUID], object]] = {
            "run_worker": lambda id_: run_worker(
                self.attacker_engine, tenant_id, id_, lambda _task: Generated(CENT)
            ),
            "run_export": lambda id_: run_export(
                self.attacker_engine, tenant_id, id_, lambda _task: None
            ),
        }
        for name, start in starts.items():
            self._number += 1
            self.report.calls[name] += 1
            answers = []
            for each in (id_, self._twins[id_]):
                try:
                    answers.append(repr(start(each)))
                except CampaignModelError as error:
                    answers.append(f"error {error.to_dict()!r}")
            if self._masked(answers[0], name, {}) != self._masked(answers[1], name, {}):
                self._note(f"{answers[0]}\nfor an id that no row has: {answers[1]}", name)

    def _note(self, what: str | None, call: str) -> None:
        if what is not None:
            self.report.leaks.append(Leak(self._number, call, what))


_NEW_ROWS = {
    "campaigns.add": ("campaign", "campaigns"),
    "templates.add": ("template", "campaign_templates"),
}
"""Methods that add a row whose id the caller chooses: the argument, and the kind of row."""


def _without_self(function: Callable[..., Any]) -> Any:
    """Return the function as a method, so that its signature has no ``self``."""
    return function.__get__(object())


@contextmanager
def _locked(victim: Belongings, *, hold: bool) -> Iterator[None]:
    """While the block runs, another transaction holds all locks of the victim, on PostgreSQL."""
    engine = victim.tenant.engine
    if not hold or engine.dialect.name == "sqlite":
        yield
        return
    with engine.connect() as connection:
        for table in TENANT_TABLES:
            is_its = table.c.tenant_id == victim.tenant.id
            connection.execute(sa.select(table).where(is_its).with_for_update())
        for id_ in victim.ids["campaigns"]:
            connection.execute(sa.func.pg_advisory_xact_lock(gate_key(victim.tenant.id, id_)))
        yield
        connection.rollback()
