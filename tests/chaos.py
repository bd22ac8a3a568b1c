"""Kill workers, exporters and the server at random, then check that nothing is lost or doubled.

A run has three phases: in the first only workers are killed and paused, in the second the server is
killed as well. In the third, messages are exported (``chaos_export.py``). ``nox -s chaos`` runs the
long form. The last line of the output counts lost and doubled contacts. The exit code is 0 only if
both are 0 and no money is missing. ``-- --seed N`` repeats the random choices of an earlier run,
but not its timing.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model._values import exact_money
from campaign_model.claims import Claim, Failed, Generated, Outcome, Recorded
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store.generation import Generation
from campaign_model.store.statements import ATTEMPTS_EXHAUSTED
from campaign_model.store.tables import campaign_contacts
from campaign_model.store.types import Money, Uuid
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from campaign_model.testing.totals_check import find_wrong_totals
from campaign_model.worker import run_worker
from chaos_export import ExportPhase, Receiver
from support import servers
from support.simulated_host import FINAL, REFUSED, SimulatedHost
from support.tenants import HOST, legacy_columns, new_tenant
from support.worker_pool import DATABASE_FAULT, Findings, Phase, die_at_step

LEASE = timedelta(seconds=1)
CONCURRENCY = 4

ledger = sa.Table(
    "ledger",
    sa.MetaData(),
    sa.Column("id", Uuid, primary_key=True),
    sa.Column("campaign_contact_id", Uuid, nullable=False),
    sa.Column("token", Uuid, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("answer", sa.Text),
    sa.Column("cost", Money),
)
"""The host's own record of every outcome and checkpoint, written in the same transaction."""


# --- A worker process ----------------------------------------------------------------------------


def run_worker_process(tenant: Tenant, campaign_id: UUID, seed: int, last_step: int | None) -> None:
    """Work on a campaign until nothing is left, or until this process kills itself."""
    engine = sa.create_engine(
        tenant.engine.url, connect_args={"application_name": str(os.getpid())}
    )
    if last_step is not None:
        die_at_step(engine, last_step)
    write_reports_into_ledger()
    host = Host(engine, tenant.id, random.Random(seed))
    try:
        run_worker(
            engine,
            tenant.id,
            campaign_id,
            host.generate,
            save=host.save,
            concurrency=CONCURRENCY,
            lease=LEASE,
        )
    except sa.exc.OperationalError:
        sys.exit(DATABASE_FAULT)


def write_reports_into_ledger() -> None:
    """Patch ``Generation``: this process writes each of its reports into the ledger too."""
    record, checkpoint = Generation.record, Generation.checkpoint

    def insert(generation: Generation, claim: Claim, **values: Any) -> None:
        generation._scope.connection.execute(
            sa.insert(ledger).values(
                id=uuid4(), campaign_contact_id=claim.id, token=claim.token, **values
            )
        )

    def record_with_ledger(
        self: Generation, outcomes: Mapping[Claim, Outcome], **options: Any
    ) -> dict[Claim, Recorded]:
        answers = record(self, outcomes, **options)
        for claim, answer in answers.items():
            if answer not in (Recorded.ALREADY, Recorded.SKIPPED):
                outcome = outcomes[claim]
                kind = type(outcome).__name__
                insert(self, claim, kind=kind, answer=answer.value, cost=outcome.cost)
        return answers

    def checkpoint_with_ledger(
        self: Generation, claim: Claim, cost: Decimal | None, **options: Any
    ) -> Recorded:
        answer = checkpoint(self, claim, cost, **options)
        if answer is Recorded.APPLIED:
            insert(self, claim, kind="checkpoint", cost=cost)
        return answer

    Generation.record = record_with_ledger  # type: ignore[method-assign]
    Generation.checkpoint = checkpoint_with_ledger  # type: ignore[method-assign]


class Host(SimulatedHost):
    """Few contacts use checkpoints, so that most transactions write whole contacts."""

    max_call = 0.004
    checkpointed = (2, 3, 4)


# --- Checking the result -------------------------------------------------------------------------


@exact_money()
def audit(tenant: Tenant, campaign_id: UUID) -> Findings:
    """Compare the campaign, its contacts, their messages and the ledger with each other."""
    findings = Findings()
    messages, contacts = HOST.messages.c, campaign_contacts.c
    # 1. Read everything in one snapshot.
    strict = tenant.engine.execution_options(isolation_level="REPEATABLE READ")
    with strict.begin() as connection:
        rows = connection.execute(
            sa.select(campaign_contacts).where(contacts.campaign_id == campaign_id)
        ).all()
        reports = connection.execute(
            sa.select(ledger)
            .join(campaign_contacts, contacts.id == ledger.c.campaign_contact_id)
            .where(contacts.campaign_id == campaign_id)
        ).all()
        messages_written = Counter(
            (row.campaign_contact_id, row.step_key, row.variant)
            for row in connection.execute(
                sa.select(messages.campaign_contact_id, messages.step_key, messages.variant).where(
                    messages.campaign_id == campaign_id
                )
            )
        )
        findings.problems += find_wrong_totals(connection, {tenant.id}, {campaign_id})
    # 2. Sum up the reports of each contact. A claim has at most one outcome.
    outcomes: Counter[UUID] = Counter()
    claims_with_outcome: set[tuple[UUID, UUID]] = set()
    costs: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    unknown_costs: Counter[UUID] = Counter()
    for report in reports:
        id_ = report.campaign_contact_id
        is_final = report.kind in (Generated.__name__, Failed.__name__)
        outcomes[id_] += is_final and report.answer == Recorded.APPLIED
        costs[id_] += report.cost or 0
        unknown_costs[id_] += report.cost is None
        findings.repeated += report.answer == Recorded.BOOKED
        if report.answer is not None:
            if (id_, report.token) in claims_with_outcome:
                findings.doubled.add(id_)
            claims_with_outcome.add((id_, report.token))
    # 3. Compare each contact with its reports and messages.
    for row in rows:
        # The library itself fails a contact after too many attempts. No worker reports that.
        expected = int(row.error_code != ATTEMPTS_EXHAUSTED)
        slots = [messages_written[row.id, slot.step_key, slot.variant] for slot in STEPS.slots()]
        is_generated = row.status == ContactStatus.GENERATED
        if row.status not in FINAL or outcomes[row.id] < expected or (is_generated and 0 in slots):
            findings.lost.add(row.id)
        if outcomes[row.id] > expected or max(slots) > 1:
            findings.doubled.add(row.id)
        if row.error_code not in (None, REFUSED, ATTEMPTS_EXHAUSTED):
            findings.problems.append(f"{row.id} failed: {row.error_code}, {row.error}")
        if (row.generation_cost, row.unknown_costs) != (costs[row.id], unknown_costs[row.id]):
            findings.problems.append(
                f"{row.id} has cost {row.generation_cost} and {row.unknown_costs} unknown costs, "
                f"its ledger has {costs[row.id]} and {unknown_costs[row.id]}"
            )
    # 4. Compare the campaign with the ledger.
    spent = tenant.progress(campaign_id).spent
    paid = sum(costs.values(), Decimal(0))
    in_row = legacy_columns(tenant, campaign_id)[2]
    if not spent == in_row == paid:
        findings.problems.append(
            f"the campaign has spent {spent}, its row has {in_row}, the ledger has {paid}"
        )
    return findings


# --- A run ---------------------------------------------------------------------------------------


@attrs.define
class GenerationPhase(Phase):
    """A campaign whose messages are generated."""

    repeated = "late outcomes"

    def create_campaign(self) -> UUID:
        """Make a generating campaign."""
        return self.tenant.campaign(Status.GENERATING, contacts=self.contacts).id

    def work(self, campaign_id: UUID, seed: int, last_step: int | None) -> None:
        """Generate messages until nothing is left."""
        run_worker_process(self.tenant, campaign_id, seed, last_step)

    def count_finished(self, campaign_id: UUID) -> int:
        """Count the contacts with an outcome."""
        progress = self.tenant.progress(campaign_id)
        return sum(progress.by_status[status] for status in FINAL)

    def is_finished(self, campaign_id: UUID) -> bool:
        """Tell whether a worker has completed the generation."""
        campaign = self.tenant.transact(lambda store: store.campaigns.get(campaign_id))
        return campaign.status is not Status.GENERATING

    def audit(self, campaign_id: UUID, _exit_codes: object) -> Findings:
        """Compare the campaign with the ledger."""
        # A move refreshes the legacy columns: costs were booked after the completion.
        self.tenant.apply(campaign_id, Action.REQUEST_CHANGES)
        return audit(self.tenant, campaign_id)


def main() -> int:
    """Run all phases. Return 0 if they left no fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", default=servers.available()[-1])
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--contacts", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=200, help="kills of workers")
    parser.add_argument("--server-contacts", type=int, default=5_000)
    parser.add_argument("--server-kills", type=int, default=5)
    parser.add_argument("--export-contacts", type=int, default=5_000)
    parser.add_argument("--export-kills", type=int, default=50, help="kills of exporters")
    options = parser.parse_args()
    print(f"seed: {options.seed}", flush=True)
    rng = random.Random(options.seed)
    workers, kills, server_kills = options.workers, options.kills, options.server_kills
    with servers.open_directory(on_disk=True) as directory:
        server = servers.Server(directory, options.engine)
        try:
            url = servers.Databases(directory).create(options.engine)
            engine = sa.create_engine(url, poolclass=sa.NullPool)
            db.init(engine, with_host_tables=True)
            ledger.create(engine)
            receiver = Receiver(directory / "receiver.sqlite")
            receiver.create()
            tenant = new_tenant(engine)
            phases: list[Phase] = [
                GenerationPhase(
                    tenant, server, options.contacts, workers, kills, pauses=kills // 5
                ),
                GenerationPhase(
                    tenant,
                    server,
                    options.server_contacts,
                    workers,
                    kills=server_kills,
                    pauses=server_kills,
                    server_kills=server_kills,
                ),
                ExportPhase(
                    tenant,
                    server,
                    options.export_contacts,
                    workers,
                    kills=options.export_kills,
                    pauses=0,
                    server_kills=server_kills,
                    receiver=receiver,
                ),
            ]
            results = [phase.run(rng) for phase in phases]
        finally:
            server.stop()
    total_kills = sum(killed for killed, _ in results)
    contacts = sum(phase.contacts for phase in phases)
    all_findings = [findings for _, findings in results]
    lost = sum(len(findings.lost) for findings in all_findings)
    doubled = sum(len(findings.doubled) for findings in all_findings)
    print(f"chaos: {total_kills} kills, {contacts} contacts, {lost} lost, {doubled} doubled")
    return int(lost or doubled or any(findings.problems for findings in all_findings))


if __name__ == "__main__":
    sys.exit(main())
