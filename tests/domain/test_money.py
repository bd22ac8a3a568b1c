"""Money is an exact Decimal everywhere, on every engine, with nine decimals."""

from __future__ import annotations

import ast
import random
import re
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

import campaign_model
from campaign_model.claims import Generated
from campaign_model.lifecycle import Action, Status
from campaign_model.store.connection import chunks
from campaign_model.store.tables import metadata
from campaign_model.store.types import Money
from campaign_model.testing.sample_campaigns import Tenant
from support.tenants import contact_rows, legacy_columns

SOURCE = Path(campaign_model.__file__).parent

IS_MONEY = re.compile(r"cost|spen[dt]|reserve|budget|money|amount|price|paid", re.IGNORECASE)
IS_TIME = re.compile(
    r"second|rate$|renewal|pause|patience|wait|until|deadline|since|begun|_at$|moment|interval",
    re.IGNORECASE,
)


def annotated(tree: ast.AST) -> list[tuple[str, str]]:
    """Return every annotated name of a module, and the annotation."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(target, annotation):
                found.append((ast.unparse(target), ast.unparse(annotation)))
            case ast.arg(arg=name, annotation=ast.expr() as annotation):
                found.append((name, ast.unparse(annotation)))
            case ast.FunctionDef(name=name, returns=ast.expr() as annotation):
                found.append((name, ast.unparse(annotation)))
    return found


def test_floats_are_used_only_for_time_and_the_numbers_of_json() -> None:
    annotated_floats, modules_with_float_calls = set(), set()
    for file in SOURCE.rglob("*.py"):
        module = file.relative_to(SOURCE).as_posix()
        tree = ast.parse(file.read_text())
        annotated_floats |= {
            f"{module}: {name}" for name, text in annotated(tree) if re.search(r"\bfloat\b", text)
        }
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        if "float" in calls:
            modules_with_float_calls.add(module)
    of_json = {
        *("_json.py", "db/adoption/audit.py"),
        *("testing/_document_faults.py", "testing/documents.py"),
    }
    assert modules_with_float_calls == of_json
    elsewhere = [name for name in annotated_floats if name.partition(":")[0] not in of_json]
    assert elsewhere
    assert [name for name in elsewhere if IS_MONEY.search(name) or not IS_TIME.search(name)] == []


def test_every_amount_is_a_money_column_and_no_column_is_a_float() -> None:
    columns = [column for table in metadata.tables.values() for column in table.columns]
    assert not [column for column in columns if isinstance(column.type, sa.Float)]
    money = {f"{column.table}.{column.name}" for column in columns if type(column.type) is Money}
    assert money == {
        f"{column.table}.{column.name}"
        for column in columns
        if IS_MONEY.search(column.name) and "unknown" not in column.name
    }


@pytest.mark.parametrize(
    ("engine_name", "budget"),
    [("sqlite", None), ("postgresql-18", Decimal(999_999_999))],
    indirect=["engine_name"],
    scope="session",
)
def test_failure_22_ten_thousand_costs_of_nine_decimals_sum_exactly(
    tenant: Tenant, budget: Decimal | None, seed: int
) -> None:
    number = 10_000
    chance = random.Random(seed)
    sizes = [10**3, 10**9, 10**12, 10**17 // number]
    costs = [Decimal(chance.randrange(chance.choice(sizes))).scaleb(-9) for _ in range(number)]
    exact = Decimal(sum(int(cost.scaleb(9)) for cost in costs)).scaleb(-9)
    campaign = tenant.campaign(Status.GENERATING, contacts=number, budget=budget)
    claims = tenant.claim(campaign.id, number, reserve=Decimal("0.000000001"))
    outcomes = {claim: Generated(cost) for claim, cost in zip(claims, costs, strict=True)}
    for part in chunks(outcomes.items(), 3000):
        tenant.record(dict(part))
    assert tenant.progress(campaign.id).spent == exact
    by_id = {claim.id: outcome.cost for claim, outcome in outcomes.items()}
    rows = contact_rows(tenant, campaign.id).values()
    assert {row.id: row.generation_cost for row in rows} == by_id
    tenant.check_totals(campaign.id)
    tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    assert legacy_columns(tenant, campaign.id) == (number, number, exact)


def test_every_amount_that_the_store_returns_prints_as_people_write_it(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4, budget=Decimal("25.00"))
    claims = tenant.claim(campaign.id, 3, reserve=Decimal("0.500"))
    costs = ("0.00010", "0.00020", "0.500")
    tenant.record(
        {claim: Generated(Decimal(cost)) for claim, cost in zip(claims, costs, strict=True)}
    )
    estimate = tenant.transact(lambda store: store.generation.estimate(campaign.id))
    (last,) = tenant.claim(campaign.id, 1, reserve=Decimal("20.00"))
    progress = tenant.progress(campaign.id)
    contacts = tenant.transact(lambda store: store.contacts.list(campaign.id)).items
    (summary,) = tenant.transact(lambda store: store.campaigns.list()).items
    tenant.record({last: Generated(Decimal("0.4997"))})
    assert list(
        map(
            str,
            (
                *(contact.cost for contact in contacts),
                *(claims[0].reserved, last.reserved, estimate.cost),
                *(progress.spent, progress.reserved, progress.budget),
                *(summary.generation_cost, tenant.progress(campaign.id).spent),
            ),
        )
    ) == [
        *("0.0001", "0.0002", "0.5", "0"),
        *("0.5", "20", "0.166766667"),
        *("0.5003", "20", "25"),
        *("0.5003", "1"),
    ]
