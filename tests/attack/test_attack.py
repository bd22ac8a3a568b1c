"""A short attack finds no leak, and would find one. ``nox -s attack`` makes a long one."""

from __future__ import annotations

import inspect
import random

import sqlalchemy as sa

from attack.arguments import OF_TEMPLATES, PARAMETERS
from attack.attack import METHODS, Attack
from attack.forgotten import forgotten_tenant
from campaign_model import db, store, worker
from campaign_model.store import CampaignStore
from support.transactions import on_sqlite

ATTACKED = {"run_worker", "run_export", "remove_tenant"}
ASYNCHRONOUS = {"run_worker_async", "run_export_async", "transact", "transact_async"}
"""They run the same calls of the store."""


def test_an_attack_with_ids_of_another_tenant_finds_no_leak(engine: sa.Engine, seed: int) -> None:
    report = Attack(engine, seed).run(4 * len(METHODS))
    assert report.leaks == []
    assert report.calls.keys() >= {*METHODS}
    # Some of the calls have own ids only, and succeed. Which ones depends on the seed.
    assert report.successes.total() > len(METHODS) / 4


@on_sqlite
def test_each_method_with_ids_is_attacked_with_those_of_the_victim(
    engine: sa.Engine, seed: int
) -> None:
    attack = Attack(engine, seed)
    attack.make_tenants()
    attacked = set()
    for method in METHODS * 50:
        arguments, twin = attack.draw_call(method)
        attacked |= {method} if arguments != twin else set()
    assert {*METHODS} - attacked == {"templates.list"}


def test_the_attack_knows_the_parameters_of_every_public_method() -> None:
    parts = inspect.get_annotations(CampaignStore, eval_str=True)
    names = {
        parameter
        for method in METHODS
        for parameter in inspect.signature(
            getattr(parts[method.partition(".")[0]], method.partition(".")[2])
        ).parameters
    }
    assert names - {"self"} == PARAMETERS.keys() | OF_TEMPLATES.keys()


def test_the_attack_knows_every_function_that_takes_a_tenant() -> None:
    functions = {
        name
        for module in (db, store, worker)
        for name in module.__all__
        if inspect.isfunction(function := getattr(module, name))
        and "tenant_id" in inspect.signature(function).parameters
    }
    assert functions == ATTACKED | ASYNCHRONOUS


def test_an_attack_finds_methods_that_forget_the_tenant(engine: sa.Engine, seed: int) -> None:
    # templates.add has no condition on the tenant.
    for method in random.sample([name for name in METHODS if name != "templates.add"], 2):
        # On SQLite, the later statements of two methods hold back most of what their first one lets
        # through.
        first_only = random.choice([True, False]) and method not in {
            "generation.record",
            "generation.release",
        }
        attack = Attack(engine, seed, methods=[method])
        with forgotten_tenant(attack, first_only=first_only):
            report = attack.run(150)
        assert report.leaks, (method, first_only)
