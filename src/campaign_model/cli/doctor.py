"""What the command ``campaign-model db doctor`` does: run the checks, repair, and print."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from uuid import UUID

import attrs
import sqlalchemy as sa
from rich.console import Console

from campaign_model.cli.console import (
    FOUND_PROBLEMS,
    SUCCESS,
    open_console,
    print_json,
    print_labelled,
)
from campaign_model.cli.database import open_database, require_table
from campaign_model.cli.doctor_checks import CHECKS, Examination, Problem, check_schema
from campaign_model.db.rls import TABLES
from campaign_model.db.setup import require_all_rows
from campaign_model.store import CampaignStore, HostTables, transact
from campaign_model.store.locking import read_campaign
from campaign_model.store.recount import recount_totals
from campaign_model.store.scope import Scope
from campaign_model.store.totals import write_legacy_columns

_SHOWN_PROBLEMS = 20
"""How many problems of one check are printed. JSON has them all."""


def examine(url: str, host: HostTables, *, repair: bool, as_json: bool) -> int:
    """Run all checks, repair what can be repaired, print the problems, and return the exit code."""
    repaired: list[Problem] = []
    with open_database(url) as engine:
        for option, table in attrs.asdict(host).items():
            require_table(engine, table, f"--{option}")
        with engine.connect() as connection:
            require_all_rows(connection, TABLES)
        problems = run_checks(engine, host)
        if repair and any(problem.repairable for problem in problems):
            recount(engine, problems)
            remaining = run_checks(engine, host)
            repaired = [problem for problem in problems if problem not in remaining]
            problems = remaining
    if as_json:
        print_json({"problems": problems, "repaired": repaired})
    else:
        _print_problems(open_console(), problems, repaired)
    return FOUND_PROBLEMS if problems else SUCCESS


def run_checks(engine: sa.Engine, host: HostTables) -> list[Problem]:
    """Run all checks, each in a transaction of its own.

    If the schema is another one than that of this version, run no other check.
    """
    if engine.dialect.name == "postgresql":
        # One snapshot for all statements of a check.
        engine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
    problems: list[Problem] = []
    for check, _ in CHECKS:
        with engine.begin() as connection:
            problems += check(Examination(connection, host))
        if check is check_schema and problems:
            break
    return problems


def recount(engine: sa.Engine, problems: Iterable[Problem]) -> None:
    """Count the contacts of the campaigns that have a repairable problem, and correct the totals.

    Each campaign is locked for its own count. Contacts that are generating without a lease get one
    that has expired, so that the next claim takes them over.
    """
    ids = {
        (problem.tenant_id, problem.campaign_id): None
        for problem in problems
        if problem.repairable and problem.tenant_id and problem.campaign_id
    }

    for tenant_id, campaign_id in ids:
        transact(engine, tenant_id, partial(_recount_campaign, campaign_id))


def _recount_campaign(campaign_id: UUID, store: CampaignStore) -> None:
    """Count the contacts of one campaign, and write its totals and legacy columns."""
    scope = Scope(store.connection, store.tenant_id)
    read_campaign(scope, campaign_id, lock=True)
    write_legacy_columns(scope, campaign_id, recount_totals(scope, campaign_id))


def _print_problems(
    console: Console, problems: Collection[Problem], repaired: Iterable[Problem]
) -> None:
    """Print each check with its problems, and what to do about each of them."""
    for check, sentence in CHECKS:
        name = check.__name__.removeprefix("check_")
        own = [problem for problem in problems if problem.check == name]
        print_labelled(console, name, f"found {len(own)}" if own else f"ok: {sentence}")
        for problem in own[:_SHOWN_PROBLEMS]:
            ids = {"tenant": problem.tenant_id, "campaign": problem.campaign_id}
            texts = [f"{label} {id_}" for label, id_ in ids.items() if id_ is not None]
            for text in (*texts, f"Problem: {problem.message}.", f"To do: {problem.remedy}."):
                print_labelled(console, "", text)
            console.print()
        if len(own) > _SHOWN_PROBLEMS:
            print_labelled(
                console, "", f"and {len(own) - _SHOWN_PROBLEMS} more; --json prints them all"
            )
    for problem in repaired:
        print_labelled(console, "repaired", f"campaign {problem.campaign_id}: {problem.message}")
