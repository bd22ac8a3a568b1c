"""The CHECK constraints and foreign keys refuse every row that the value types would refuse."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import judges
from campaign_model._values import MAX_GAP_NAME, MAX_GAPS, MONEY_PATTERN
from campaign_model.campaign import (
    MAX_ACTOR,
    MAX_DESCRIPTION,
    MAX_NAME,
    MAX_REASON,
    CampaignTemplate,
)
from campaign_model.claims import MAX_ERROR
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
from campaign_model.store.types import (
    FIRST_MOMENT,
    LAST_MOMENT,
    JsonText,
    Money,
    UtcDateTime,
    Uuid,
)
from campaign_model.testing.sample_campaigns import STEPS, Tenant
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
    tenant.transact(lambda store: store.templates.add(CampaignTemplate("Sample", STEPS)))
    with tenant.engine.connect() as connection:
        yield lambda table, **values: refusal(connection, setting(tenant, table, **values))


# --- Statuses ------------------------------------------------------------------------------------

STATUSES = {"campaigns": Status, "campaign_contacts": ContactStatus}


@pytest.mark.parametrize("table", STATUSES)
def test_a_status_outside_of_the_lifecycle_is_refused(
    table: str, judge: Callable[..., str | None]
) -> None:
    words = {str(word) for word in STATUSES[table]}
    claimed = CLAIM if table == "campaign_contacts" else {}
    for word in words:
        assert judge(table, status=f"'{word}'", **claimed) is ACCEPTED, word
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


def test_a_generating_contact_has_a_token_and_a_lease_and_no_lease_is_without_token(
    judge: Callable[..., str | None],
) -> None:
    for status in ContactStatus:
        for has_token, has_lease in product((True, False), repeat=2):
            is_consistent = has_token if has_lease else status != ContactStatus.GENERATING
            refused_by = judge(
                "campaign_contacts",
                status=f"'{status}'",
                claim_token=CLAIM["claim_token"] if has_token else "NULL",
                lease_expires_at=TIME if has_lease else "NULL",
            )
            expected = ACCEPTED if is_consistent else "ck_campaign_contacts_claim"
            assert refused_by == expected, (status, has_token, has_lease)


# --- Every column: the values that the types refuse ----------------------------------------------

COLUMNS = [(table.name, column.name) for table in metadata.sorted_tables for column in table.c]

BAD_VALUES: dict[str, dict[type, list[str]]] = {
    "postgresql": {
        UtcDateTime: ["'infinity'", "'-infinity'", "'10000-01-01'", "'0044-03-15 BC'"],
    },
    "sqlite": {
        Uuid: [
            *("'x'", "''", "7", "x'31'", f"'{uuid4()}'", "'ABCDEF00000040008000000000000000'"),
            "'00000000000040008000000000000000' || char(0)",
        ],
        UtcDateTime: [
            *("'soon'", "'now'", "''", "7", "x'31'", "'12000-01-01 00:00:00.000000'"),
            *("'2026-02-30 00:00:00.000000'", "'2026-01-01 24:00:00.000000'", "'2026-01-01'"),
            *("'2026-01-01T00:00:00.000000'", "'2026-01-01 00:00:00'", "'infinity'"),
            *("'0001-01-01 00:00:00.000000'", "'9999-12-31 00:00:00.000000'"),
            "'2026-01-01 00:00:00.000000' || char(0)",
        ],
        sa.Integer: ["'many'", "''", "0.5", "1e30", "x'31'"],
        sa.Boolean: ["2", "-1", "0.5", "'yes'", "''", "x'31'"],
        sa.Text: ["x'61'", "'a' || char(0) || 'b'"],
        JsonText: ["x'5b5d'", "x'7b7d'", "'['", "''", "7"],
    },
}
"""Values that no column of a type has, as SQL: by engine and type."""

GOOD_VALUES: dict[str, dict[type, list[str]]] = {
    "postgresql": {UtcDateTime: [f"'{FIRST_MOMENT}'", f"'{LAST_MOMENT}'"]},
    "sqlite": {
        UtcDateTime: [
            *("'0001-01-02 00:00:00.000000'", "'9999-12-30 00:00:00.000000'"),
            # SQLite rounds times to milliseconds.
            *(f"'2026-12-31 23:59:59.{fraction}'" for fraction in ("999499", "999500", "999999")),
        ],
        sa.Integer: [str(2**63 - 1), str(-(2**63))],
    },
}

LONGEST = {
    ("campaigns", "name"): MAX_NAME,
    ("campaigns", "description"): MAX_DESCRIPTION,
    ("campaign_templates", "name"): MAX_NAME,
    ("campaign_templates", "description"): MAX_DESCRIPTION,
    ("campaign_contacts", "error_code"): MAX_ERROR,
    ("campaign_contacts", "error"): MAX_ERROR,
    ("campaign_history", "actor"): MAX_ACTOR,
    ("campaign_history", "reason"): MAX_REASON,
}
"""The most characters of each text that people read."""

MACHINE_WORDS = {
    *(("campaigns", "status"), ("campaign_contacts", "status")),
    *(("campaign_history", name) for name in ("action", "source", "target")),
    *(("campaign_contacts", "steps_fingerprint"), ("campaign_templates", "shipped_digest")),
}
"""The other columns of text: words of the lifecycle, and digests."""

TIME = f"'{datetime(2026, 1, 1, tzinfo=UTC):%Y-%m-%d %H:%M:%S.000000}'"
CLAIM = {"claim_token": f"'{uuid4().hex}'", "lease_expires_at": TIME}


def values_of(values: dict[type, list[str]], column: sa.Column[Any]) -> list[str]:
    return [one for type_, ones in values.items() if isinstance(column.type, type_) for one in ones]


@pytest.mark.parametrize(("table", "name"), COLUMNS)
def test_a_column_refuses_the_values_that_its_type_does_not_have(
    table: str, name: str, tenant: Tenant, judge: Callable[..., str | None]
) -> None:
    engine, column = tenant.engine.dialect.name, metadata.tables[table].c[name]
    is_lease = (table, name) == ("campaign_contacts", "lease_expires_at")
    with_lease = {"claim_token": CLAIM["claim_token"]} if is_lease else {}
    for good in values_of(GOOD_VALUES[engine], column):
        assert judge(table, **{name: good}, **with_lease) is ACCEPTED, good
    for bad in values_of(BAD_VALUES[engine], column):
        constraint = "times" if engine == "postgresql" else name
        refused_by = judge(table, **{name: bad}, **with_lease)
        assert refused_by == f"ck_{table}_{constraint}", (bad, refused_by)


def test_every_text_is_limited_or_a_word_of_the_library() -> None:
    texts = {
        (table, name)
        for table, name in COLUMNS
        if isinstance(metadata.tables[table].c[name].type, sa.Text)
    }
    assert texts == {*LONGEST} | MACHINE_WORDS


@pytest.mark.parametrize(("table", "name"), LONGEST)
def test_a_text_that_people_read_is_neither_too_long_nor_blank(
    table: str, name: str, judge: Callable[..., str | None]
) -> None:
    longest, refused = LONGEST[table, name], f"ck_{table}_{name}"
    for character in ("x", "\N{PARTY POPPER}"):
        assert judge(table, **{name: f"'{character * longest}'"}) is ACCEPTED
        assert judge(table, **{name: f"'{character * (longest + 1)}'"}) == refused
    if not metadata.tables[table].c[name].nullable:
        whitespace = [*filter(str.isspace, map(chr, range(1, sys.maxunicode)))]
        for blank in ("", *whitespace, "".join(whitespace)):
            assert judge(table, **{name: f"'{blank}'"}) == refused, ascii(blank)
            assert judge(table, **{name: f"'{blank}.{blank}'"}) is ACCEPTED, ascii(blank)


@pytest.mark.parametrize("name", ["action", "source", "target"])
def test_the_history_has_only_words_of_the_lifecycle(
    name: str, judge: Callable[..., str | None]
) -> None:
    for word in (*Action, "adopted") if name == "action" else Status:
        assert judge("campaign_history", **{name: f"'{word}'"}) is ACCEPTED, word
    for word in ("", "sent", "Draft", "generated", "sending"):
        assert judge("campaign_history", **{name: f"'{word}'"}) == f"ck_campaign_history_{name}"


def test_only_an_adopted_campaign_has_a_long_reason(judge: Callable[..., str | None]) -> None:
    """Adoption keeps old values there, which may be long."""
    long = f"'{'x' * (MAX_REASON + 1)}'"
    assert judge("campaign_history", reason=long, action="'adopted'") is ACCEPTED


LONG_NAME = "x" * MAX_GAP_NAME
GOOD_GAPS = [
    *([], ["email"], ["email", ","], ['"', "\\", '\\"', "\\\\"], [",", '","', "[]"], [" "]),
    *(["\n", "\u2028", "é", "\N{PARTY POPPER}"], ["x", "x"], [LONG_NAME], ["x"] * MAX_GAPS),
]
BAD_GAPS = [
    *([""], ["x", ""], ["", "x"], [1], ["x", 1], [1, "x"], ["x", 1, "y"], [None], [True], [0.5]),
    *([["x"]], ["x", ["y"], "z"], [{}], [{"x": "y"}], ["x", {"y": "z"}], [[]], [["x", "y"]]),
    ["x"] * (MAX_GAPS + 1),
]


def test_gaps_are_a_list_of_names(tenant: Tenant, judge: Callable[..., str | None]) -> None:
    too_long: list[Any] = [[f"{LONG_NAME}x"]]
    on_sqlite = tenant.engine.dialect.name == "sqlite"
    good_gaps = [*GOOD_GAPS, *(too_long if on_sqlite else ())]
    bad_gaps = [*BAD_GAPS, *(() if on_sqlite else too_long)]
    for gaps, separators, only_ascii in product(
        [*good_gaps, *bad_gaps], [(",", ":"), (" , ", " : ")], [True, False]
    ):
        text = json.dumps(gaps, separators=separators, ensure_ascii=only_ascii)
        quoted = text.replace("'", "''").replace("\\:", "\\\\:")
        refused_by = judge("campaign_contacts", enrichment_gaps=f"'{quoted}'")
        is_good = any(gaps is one for one in good_gaps)
        assert (refused_by is ACCEPTED) == is_good, text
        assert refused_by in (ACCEPTED, "ck_campaign_contacts_enrichment_gaps"), text


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
