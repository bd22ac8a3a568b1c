"""The CHECK constraints and foreign keys refuse every row that the value types would refuse."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import judges
from campaign_model._values import MONEY_PATTERN
from campaign_model.generation_config import LANGUAGE_PATTERN
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.steps import (
    KEY_PATTERN,
    MAX_DAY_OFFSET,
    MAX_LABEL,
    MAX_STEPS,
    MAX_VARIANTS,
    STEP_FIELDS,
    Step,
    StepSequence,
)
from campaign_model.store.tables import campaign_templates, metadata
from campaign_model.store.types import Money, Uuid
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.vocabulary import CHANNEL_PATTERN, MAX_IDENTIFIER, STANDARD, Condition
from campaign_model.wire import DEFAULT
from support.differences import DIFFERENCES
from support.tenants import execute, new_owner, new_tenant

ACCEPTED = None
NOT_NULL = "NOT NULL"
FOREIGN_KEY = "FOREIGN KEY"
NOT_JSON = "not JSON"
_SQLSTATES = {
    "23502": NOT_NULL,
    "23503": FOREIGN_KEY,
    "22003": NOT_JSON,  # A number out of PostgreSQL's range.
    "22P02": NOT_JSON,
    "22P05": NOT_JSON,  # An escaped half of a surrogate pair, or an escaped NUL.
    None: NOT_JSON,  # A NUL character, which the driver refuses.
}


def refusal(connection: sa.Connection, statement: sa.Executable) -> str | None:
    """Return what refuses ``statement``: the name of a CHECK, or one of the words above.

    The statement is always rolled back.
    """
    savepoint = connection.begin_nested()
    try:
        connection.execute(statement)
    except (sa.exc.IntegrityError, sa.exc.DataError) as error:
        if isinstance(error.orig, sqlite3.Error):
            kind, _, name = str(error.orig).partition(" constraint failed")
            return name.removeprefix(": ") if kind == "CHECK" else kind
        state = getattr(error.orig, "sqlstate", None)
        if state == "23514":
            return str(getattr(error.orig, "diag").constraint_name)  # noqa: B009 - psycopg's attribute
        return _SQLSTATES[state]
    finally:
        savepoint.rollback()
    return ACCEPTED


def setting(tenant: Tenant, table: str, **values: str) -> sa.Update:
    """Return an ``UPDATE`` of the tenant's rows; each value is SQL."""
    columns = sa.table(table, sa.column("tenant_id", Uuid), *(sa.column(name) for name in values))
    return (
        sa.update(columns)
        .where(columns.c.tenant_id == tenant.id)
        .values({name: sa.literal_column(value) for name, value in values.items()})
    )


def add_erased_claim(tenant: Tenant, campaign_id: UUID) -> None:
    execute(
        tenant,
        sa.insert(metadata.tables["campaign_erased_claims"]).values(
            tenant_id=tenant.id,
            campaign_id=campaign_id,
            campaign_contact_id=uuid4(),
            token=uuid4(),
        ),
    )


@pytest.fixture
def judge(tenant: Tenant) -> Iterator[Callable[..., str | None]]:
    """``judge(table, column=SQL)`` returns what refuses that value in a campaign's rows."""
    campaign = tenant.apply(tenant.campaign(contacts=1).id, Action.MARK_READY)
    add_erased_claim(tenant, campaign.id)
    with tenant.engine.connect() as connection:
        yield lambda table, **values: refusal(connection, setting(tenant, table, **values))


# --- Statuses ------------------------------------------------------------------------------------

STATUSES = {"campaigns": Status, "campaign_contacts": ContactStatus}


@pytest.mark.parametrize("table", STATUSES)
def test_a_status_outside_of_the_lifecycle_is_refused(
    table: str, judge: Callable[..., str | None]
) -> None:
    words = {str(word) for word in STATUSES[table]}
    assert {word for word in words if judge(table, status=f"'{word}'") is not ACCEPTED} == set()
    unknown = {"", " ", "unknown", "null", "0", "drafted", "é"}
    for word in {*Status, *ContactStatus}:
        unknown |= {
            word.upper(),
            word.title(),
            f" {word}",
            f"{word} ",
            f"{word}\n",
            word[:-1],
            word,
        }
    for word in unknown - words:
        assert judge(table, status=f"'{word}'") == f"ck_{table}_status", word
    assert judge(table, status="NULL") == NOT_NULL


def test_only_an_archived_campaign_is_inactive(judge: Callable[..., str | None]) -> None:
    for status in Status:
        word = f"'{status}'"
        assert judge("campaigns", status=word, is_active="true") is ACCEPTED, status
        inactive = judge("campaigns", status=word, is_active="false")
        archived = status is Status.ARCHIVED
        assert inactive == (ACCEPTED if archived else "ck_campaigns_is_active"), status
        assert judge("campaigns", status=word, is_active="NULL") == NOT_NULL, status


def test_exactly_the_templates_without_a_tenant_are_system_templates(tenant: Tenant) -> None:
    disagrees = "ck_campaign_templates_is_system"
    expected = {
        (tenant.id, False): ACCEPTED,
        (tenant.id, True): disagrees,
        (None, True): ACCEPTED,
        (None, False): disagrees,
        (tenant.id, None): NOT_NULL,
        (None, None): NOT_NULL,
    }
    refusals = {}
    with tenant.engine.connect() as connection:
        for tenant_id, is_system in expected:
            row = {"id": uuid4(), "tenant_id": tenant_id, "name": "Template"}
            inserted = sa.insert(campaign_templates).values(
                **row, is_system=sa.null() if is_system is None else is_system
            )
            refusals[tenant_id, is_system] = refusal(connection, inserted)
    assert refusals == expected


# --- Money ---------------------------------------------------------------------------------------

AMOUNTS = [
    (table.name, column.name)
    for table in metadata.sorted_tables
    for column in table.c
    if isinstance(column.type, Money)
]
GOOD_AMOUNTS = {
    "postgresql": ["0", "0.123456789", "1234567890123.000000001", "1.5000000000000", "1e3"],
    "sqlite": ["0", "1", "9223372036854775807"],
}
BAD_AMOUNTS = {
    "postgresql": ["'NaN'", "'Infinity'", "0.0000000001", "1.1234567891", "1e-10"],
    "sqlite": ["'NaN'", "'Infinity'", "9e999", "0.5", "1e19", "'1,5'", "''", "x'31'"],
}
NEGATIVE_AMOUNTS = {"postgresql": ["-1", "-0.000000001"], "sqlite": ["-1"]}


def test_four_tables_have_columns_of_money() -> None:
    assert {table for table, _ in AMOUNTS} == {
        "campaigns",
        "campaign_contacts",
        "campaign_erased_claims",
        "campaign_totals",
    }


@pytest.mark.parametrize(("table", "column"), AMOUNTS)
def test_money_that_is_not_finite_negative_or_too_precise_is_refused(
    table: str, column: str, tenant: Tenant, judge: Callable[..., str | None]
) -> None:
    engine, name = tenant.engine.dialect.name, f"ck_{table}_{column}"
    for amount in GOOD_AMOUNTS[engine]:
        assert judge(table, **{column: amount}) is ACCEPTED, amount
    for amount in BAD_AMOUNTS[engine]:
        assert judge(table, **{column: amount}) == name, amount
    # A shard of the totals has signed deltas; only their sum is an amount.
    signed = table == "campaign_totals"
    for amount in NEGATIVE_AMOUNTS[engine]:
        assert judge(table, **{column: amount}) == (ACCEPTED if signed else name), amount
    assert judge(table, **{column: "'-Infinity'"}) == name
    assert judge(table, **{column: "NULL"}) == NOT_NULL


def test_a_bound_parameter_that_is_no_amount_is_refused(tenant: Tenant) -> None:
    add_erased_claim(tenant, tenant.campaign(contacts=1).id)
    with tenant.engine.connect() as connection:
        for amount in ("0.0000000001", "1.1234567891", "NaN", "Infinity", "-Infinity"):
            money = sa.literal(Decimal(amount), Money())
            for table, column in AMOUNTS:
                with pytest.raises(sa.exc.StatementError), connection.begin_nested():
                    connection.execute(sa.update(metadata.tables[table]).values({column: money}))


# --- JSON columns except the steps ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("campaigns", "generation_config", "object"),
        ("campaign_templates", "default_config", "object"),
        ("campaign_contacts", "enrichment_gaps", "array"),
    ],
)
def test_a_json_column_refuses_values_of_another_json_type(
    table: str, column: str, kind: str, tenant: Tenant, judge: Callable[..., str | None]
) -> None:
    if table == "campaign_templates":
        with tenant.engine.begin() as connection:
            connection.execute(
                sa.insert(campaign_templates).values(
                    id=uuid4(), tenant_id=tenant.id, name="Template"
                )
            )
    good, other = ("{}", "[]") if kind == "object" else ("[]", "{}")
    name = f"ck_{table}_{column}"
    assert judge(table, **{column: f"'{good}'"}) is ACCEPTED
    for document in (other, f'"{good}"', '"x"', "null", "true", "0"):
        assert judge(table, **{column: f"'{document}'"}) == name, document
    sqlite = tenant.engine.dialect.name == "sqlite"
    for text in ("", "{", "[1,]", "None", "{'a': 1}"):
        quoted = text.replace("'", "''")
        assert judge(table, **{column: f"'{quoted}'"}) == (name if sqlite else NOT_JSON), text
    unset = judge(table, **{column: "NULL"})
    assert unset == (ACCEPTED if column == "enrichment_gaps" else NOT_NULL)


# --- Steps and settings: evaluate the text of the CHECK, read from the database ------------------

STEPS_COLUMNS = {"campaigns": "template_config", "campaign_templates": "steps"}


Accepts = Callable[[str], bool]


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a connection whose transaction is never committed."""
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def check(connection: sa.Connection) -> judges.Judge:
    return judges.check(connection)


@pytest.fixture
def accepts(check: judges.Judge) -> Accepts:
    """``accepts(text)`` returns True if the CHECK on a campaign's steps accepts that text."""
    return lambda text: check("stored", "template_config", [text]) == [True]


def step(**members: Any) -> dict[str, Any]:
    return {"channel": "email", **members}


def steps(**members: Any) -> str:
    return json.dumps([step(**members)])


SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "tone": st.sampled_from(["casual", "", "x" * 40, "x" * 201, "an unknown tone", 1]),
    "language": st.from_regex(LANGUAGE_PATTERN, fullmatch=True)
    | st.text("aZ0-", max_size=12)
    | st.lists(st.text("aZ9", min_size=1, max_size=9), min_size=1, max_size=5).map("-".join)
    | st.sampled_from(["en\n", "pt_BR", 5]),
    "custom_instructions": st.sampled_from(["", "x" * 10_000, "x" * 10_001, []]),
    "default_variant_count": st.sampled_from([0, 1, 3, 4, 1.0, "1", True]),
    "budget": st.from_regex(MONEY_PATTERN, fullmatch=True)
    | st.text("0129.", max_size=12)
    | st.sampled_from(["1" * 10, "0." + "1" * 10, "0." + "1" * 9, "-1", "1e3", "1\n", 50]),
    "own": st.sampled_from([None, 1, {"deep": []}]),
}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.fixed_dictionaries(
        {},
        optional={
            name: values | st.sampled_from([None, {}, ""]) for name, values in SETTINGS.items()
        },
    )
)
def test_the_check_on_settings_agrees_with_the_codec(
    check: judges.Judge, document: dict[str, Any]
) -> None:
    text = json.dumps(document)
    violations = DEFAULT.stored_violations(text, "generation_config")
    assert check("stored", "generation_config", [text]) == [not violations], (text, violations)


WELL_FORMED = (
    "[]",
    steps(),
    json.dumps([step()] * MAX_STEPS),
    steps(channel="a" * 40),
    steps(channel="fax_2"),
    steps(label="x" * MAX_LABEL),
    steps(label="😀" * (MAX_LABEL + 1)),
    steps(label="\n"),
    steps(key="K" * 40),
    steps(key="-_09"),
    *(steps(variant_count=number) for number in range(1, MAX_VARIANTS + 1)),
    *(steps(day_offset=number) for number in (0, MAX_DAY_OFFSET)),
    *(steps(condition=str(word)) for word in Condition),
    *(steps(channel=channel.name) for channel in STANDARD.channels),
    steps(config={"tone": None}, **{"x": [1.5, None], "a.b": 1, '"': 1, "$": {}, "": []}),
    steps(step=99),
    *(
        steps(**dict.fromkeys((name for name in STEP_FIELDS if name != "channel"), empty))
        for empty in (None, "")
    ),
    steps(x=["\\u0000", "\\\\ud800", "\\\\", "😀\\😀", "\ud7ff\ue000"]),
    " [ ] ",
)
WRONG: dict[str, list[Any]] = {
    "channel": [
        None,
        1,
        True,
        [],
        ["email"],
        {},
        "",
        " ",
        "Email",
        "eMail",
        "é",
        "1a",
        "_a",
        "a b",
    ],
    "label": [[None], 1, True, [], ["x"], [""], {}],
    "enabled": [[None], 0, 1, "true", [], [True], {}],
    "needs_pdf": [[None], 0, 1, "false", [], [False], {}],
    "variant_count": [[None], 0, MAX_VARIANTS + 1, -1, 1.0, 1.5, "1", True, [1], {}],
    "day_offset": [[None], -1, MAX_DAY_OFFSET + 1, 0.0, 0.5, "0", False, [0], {}],
    "step": [[None], 0, -1, 1.0, 0.5, "1", True, [1], {}],
    "key": [[None], [""], 1, [], ["a"], {}, "a b", "é", "k" * 41, "a\n", "\na", "a.b"],
    "condition": [[None], [""], 1, [], ["always"], {}, "ALWAYS", "always ", "never", "no response"],
    "config": [[None], [], [{}], "{}", 1, True],
}
HALVES_OF_PAIRS = (
    *("\ud83d", "\ud83dé", "\ud83d\n", "\ud83d\ud7ff", "\ud83d\ud83d\ude00", "\ud83d\n\ude00"),
    *("\ude00", "é\ude00", "\nabcd\ude00", "\ud7ff\ude00", "\ude00\ud83d", "\\\ude00"),
)
MALFORMED = (
    *(json.dumps([step(**{name: value})]) for name, values in WRONG.items() for value in values),
    *(json.dumps([{"channel": value}]) for value in ("a" * 41, "a-b", "email\n", "\nemail")),
    json.dumps([{"label": "No channel"}]),
    json.dumps([step(), {"Channel": "email"}]),
    json.dumps([step()] * (MAX_STEPS + 1)),
    json.dumps([step()] * 200),
    *("null", "{}", "0", "true", '""', '"x"', steps()[1:-1]),
    # Other values in the place of a step.
    *("[null]", "[1]", '["email"]', "[[]]", "[{}]", f"[{steps()}]", f"[[], {steps()[1:-1]}]"),
    *(f"[{steps()[1:-1]}, {value}]" for value in ("null", "[]", "{}", steps(), '"email"')),
    # Text that databases cannot store, or cannot read back.
    *(
        steps(**{name: text})
        for name in ("x", "label", "\0", "\ude00")
        for text in ("a\0", "\ud800")
    ),
    *(steps(x=text) for text in HALVES_OF_PAIRS),
    # Some versions of SQLite do not recognise these names.
    *(f'[{{"channel": "email", "{name}": 5}}]' for name in (r"l\u0061bel", r"needs\u005fpdf")),
    r'[{"channel": "email", "ke\u0079": 5}]',
    # Text that is not JSON.
    *("[]\0", "[]\0]", "", "[", "[1,]", "[{]", "{'channel': 'email'}", "[NaN]", "x"),
)


def test_well_formed_steps_are_accepted(accepts: Accepts) -> None:
    for text in WELL_FORMED:
        assert DEFAULT.stored_violations(text) == (), text
        assert accepts(text), text


def test_malformed_steps_are_refused(accepts: Accepts) -> None:
    for text in MALFORMED:
        assert DEFAULT.stored_violations(text) != (), text
        assert not accepts(text), text


@pytest.mark.parametrize("table", STEPS_COLUMNS)
def test_a_row_is_refused_exactly_if_the_text_of_the_check_is_false(
    tenant: Tenant, connection: sa.Connection, accepts: Accepts, table: str
) -> None:
    """Otherwise the other tests, which evaluate only the text, would prove nothing about rows."""
    columns = metadata.tables[table]
    row = uuid4()
    connection.execute(
        sa.insert(columns).values(id=row, tenant_id=tenant.id, name="Steps", version=1)
    )
    differing = [
        example.text
        for difference in DIFFERENCES
        for example in difference.examples
        if example.kind == "template_config"
    ]
    column = STEPS_COLUMNS[table]
    for text in [*WELL_FORMED, *MALFORMED, *differing]:
        update = sa.update(columns).where(columns.c.id == row).values({column: text})
        reason = refusal(connection, update)
        assert reason in (ACCEPTED, NOT_JSON, f"ck_{table}_{column}"), text
        assert (reason is ACCEPTED) == accepts(text), text


@pytest.mark.parametrize("name", ["step", "label", "enabled", "key", "config", "channel"])
def test_the_check_covers_every_index(accepts: Accepts, name: str) -> None:
    for index in range(MAX_STEPS):
        document = [step() for _ in range(MAX_STEPS)]
        document[index][name] = [None]
        assert not accepts(json.dumps(document)), index
        assert not accepts(json.dumps([*document[:index], None, *document[index + 1 :]])), index


def test_the_patterns_of_channels_and_keys_are_the_same_as_in_python(accepts: Accepts) -> None:
    longest = MAX_IDENTIFIER
    for name, pattern in (("channel", CHANNEL_PATTERN), ("key", KEY_PATTERN)):
        texts = ["a" * (longest - 1), "a" * longest, "a" * (longest + 1), "a" * 80, ""]
        assert [bool(re.fullmatch(pattern, text)) for text in texts] == [True, True, *[False] * 3]
        characters = [*map(chr, range(1, 128)), "é", "ß", "\uff21", "٣", "😀", "\u2028", "\xa0"]
        texts += [text for character in characters for text in (character, f"a{character}")]
        for text in texts:
            # An empty key is the same as no key.
            is_empty = name == "key" and text == ""
            is_accepted = is_empty or re.fullmatch(pattern, text) is not None
            assert accepts(steps(**{name: text})) == is_accepted, text


def test_templates_have_the_same_check_on_steps(connection: sa.Connection) -> None:
    conditions = {
        judges.check_text(connection, table, column).replace(column, "COLUMN")
        for table, column in STEPS_COLUMNS.items()
    }
    assert len(conditions) == 1


LARGE_FLOATS = StepSequence((Step("email", "Large", config={"x": 7.205759403792251e16}),))


def test_a_large_float_in_a_step_is_read_back_as_the_same_value(tenant: Tenant) -> None:
    """``jsonb`` writes it as 72057594037922510, an integer that no double holds exactly."""
    assert tenant.campaign(contacts=0, steps=LARGE_FLOATS).steps == LARGE_FLOATS


# --- Foreign keys: a row of one tenant cannot refer to another tenant's row ----------------------


def composite_keys(engine: sa.Engine) -> dict[tuple[str, str], str]:
    """Return (table, column beside tenant_id) -> name of every foreign key of two columns."""
    inspector = sa.inspect(engine)
    return {
        (table, key["constrained_columns"][1]): str(key["name"])
        for table in metadata.tables
        for key in inspector.get_foreign_keys(table)
        if len(key["constrained_columns"]) > 1
    }


CROSSINGS = [
    ("campaigns", "owner_id"),
    ("campaign_contacts", "campaign_id"),
    ("campaign_contacts", "contact_id"),
    ("campaign_erased_claims", "campaign_id"),
    ("campaign_history", "campaign_id"),
    ("campaign_totals", "campaign_id"),
]


def test_every_composite_key_is_tested_below_and_only_the_owner_is_nullable(
    engine: sa.Engine,
) -> None:
    assert set(composite_keys(engine)) == set(CROSSINGS)
    inspector = sa.inspect(engine)
    # The database does not check a key that contains NULL.
    nullable = {
        (table, column["name"])
        for table, name in CROSSINGS
        for column in inspector.get_columns(table)
        if column["name"] in (name, "tenant_id") and column["nullable"]
    }
    assert nullable == {("campaigns", "owner_id")}


@pytest.mark.parametrize(("table", "column"), CROSSINGS)
def test_a_row_of_one_tenant_cannot_refer_to_another_tenants(
    engine: sa.Engine, table: str, column: str
) -> None:
    ours, theirs = new_tenant(engine), new_tenant(engine)
    for tenant in (ours, theirs):
        owner_id = new_owner(tenant)
        campaign = tenant.apply(tenant.campaign(contacts=1).id, Action.MARK_READY)
        add_erased_claim(tenant, campaign.id)
        with engine.begin() as connection:
            connection.execute(
                sa.update(metadata.tables["campaigns"])
                .where(metadata.tables["campaigns"].c.tenant_id == tenant.id)
                .values(owner_id=owner_id)
            )

    def another(tenant: Tenant) -> Any:
        """Return an id of the tenant that our rows could refer to."""
        if column == "owner_id":
            return new_owner(tenant)
        return tenant.campaign(contacts=0).id if column == "campaign_id" else tenant.contacts(1)[0]

    own, foreign, missing = another(ours), another(theirs), uuid4()
    rows = metadata.tables[table]
    of_ours = sa.update(rows).where(rows.c.tenant_id == ours.id)
    with engine.connect() as connection:
        assert connection.execute(of_ours.values({column: own})).rowcount == 1
        for id_ in (foreign, missing):
            assert refusal(connection, of_ours.values({column: id_})) == FOREIGN_KEY, id_
        # A row cannot move to another tenant either.
        moved = of_ours.values(tenant_id=theirs.id)
        assert refusal(connection, moved) == FOREIGN_KEY
        # A new row that is like ours except for the reference.
        row = connection.execute(sa.select(rows).where(rows.c.tenant_id == ours.id))
        new = dict(row.mappings().one())
        new_keys = {"id": uuid4(), "shard": 7, "campaign_contact_id": uuid4()}
        new |= {name: value for name, value in new_keys.items() if name in new}
        for id_ in (foreign, missing):
            assert refusal(connection, sa.insert(rows).values(new | {column: id_})) == FOREIGN_KEY
