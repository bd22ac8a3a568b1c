"""Column types keep values exactly, on every engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal, localcontext
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from campaign_model._json import JsonObject
from campaign_model._values import MONEY_LIMIT
from campaign_model.errors import InvalidArgument
from campaign_model.store.types import (
    Array,
    JsonText,
    Money,
    UtcDateTime,
    Uuid,
    any_of,
    database_clock,
    new_id,
)
from campaign_model.testing.strategies import json_values, texts

METADATA = sa.MetaData()
TABLE = sa.Table(
    "values_of_every_type",
    METADATA,
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("id", Uuid),
    sa.Column("at", UtcDateTime),
    sa.Column("amount", Money),
    sa.Column("document", JsonText),
    sa.Column("word", sa.Text),
    sa.Column("number", sa.BigInteger),
    prefixes=["TEMPORARY"],
)

# Each example is a round trip to the database. The @example lines are the hard cases.
few = settings(max_examples=30)


@pytest.fixture(scope="module")
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a connection with a temporary table; the transaction is never committed."""
    with engine.connect() as connection:
        METADATA.create_all(connection, checkfirst=False)
        yield connection
        connection.rollback()


def write_and_read(connection: sa.Connection, **columns: list[Any]) -> list[sa.Row[Any]]:
    """Replace all rows by rows with these columns, and read them back in the same order."""
    connection.execute(sa.delete(TABLE))
    length = max(map(len, columns.values()))
    if length:
        connection.execute(
            sa.insert(TABLE),
            [
                {"position": index} | {name: values[index] for name, values in columns.items()}
                for index in range(length)
            ],
        )
    return [*connection.execute(sa.select(TABLE).order_by(TABLE.c.position))]


def matching(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> set[int]:
    return {*connection.scalars(sa.select(TABLE.c.position).where(condition))}


def refused(connection: sa.Connection, column: str, value: Any) -> sa.exc.StatementError:
    with pytest.raises(sa.exc.StatementError) as caught, connection.begin_nested():
        connection.execute(sa.insert(TABLE).values(position=0, **{column: value}))
    return caught.value


def is_sqlite(connection: sa.Connection) -> bool:
    return connection.dialect.name == "sqlite"


def test_null_is_null_in_every_type(connection: sa.Connection) -> None:
    names = ("id", "at", "amount", "document")
    (row,) = write_and_read(connection, **{name: [None] for name in names})
    assert {*row[1:]} == {None}
    assert matching(connection, TABLE.c.document.is_(None)) == {0}


# --- Money ---------------------------------------------------------------------------------------

NANO = Decimal("0.000000001")
# On SQLite, an amount and a sum of amounts are 64-bit numbers of nano-units.
LARGEST = {"postgresql": 10**40, "sqlite": 2**63 - 1}


@few
@given(data=st.data())
def test_money_is_stored_to_the_last_decimal(
    connection: sa.Connection, data: st.DataObject
) -> None:
    largest = LARGEST[connection.dialect.name]
    nanos = data.draw(st.lists(st.integers(-largest, largest), min_size=1, max_size=4))
    amounts = [Decimal(nano).scaleb(-9, Context(prec=60)) for nano in nanos]
    rows = write_and_read(connection, amount=amounts)
    assert [row.amount for row in rows] == amounts
    assert all(type(row.amount) is Decimal for row in rows)
    for amount in amounts:
        positions = matching(connection, sa.literal(amount, Money()) == TABLE.c.amount)
        assert positions == {index for index, other in enumerate(amounts) if other == amount}
        positions = matching(connection, sa.literal(amount, Money()) < TABLE.c.amount)
        assert positions == {index for index, other in enumerate(amounts) if other > amount}


@few
@given(st.lists(st.decimals(0, MONEY_LIMIT - 1, places=9), min_size=1, max_size=9))
@example([MONEY_LIMIT - NANO] * 9)
@example([Decimal("0.1")] * 9)
@example([NANO, MONEY_LIMIT - NANO])
def test_the_sum_of_money_is_exact(connection: sa.Connection, amounts: list[Decimal]) -> None:
    write_and_read(connection, amount=amounts)
    summed = connection.scalar(sa.select(sa.func.sum(TABLE.c.amount)))
    assert summed == sum(amounts)
    raised = sa.update(TABLE).values(amount=TABLE.c.amount + sa.literal(NANO, Money()))
    connection.execute(raised)
    amounts_after = connection.scalars(sa.select(TABLE.c.amount).order_by(TABLE.c.position)).all()
    assert amounts_after == [amount + NANO for amount in amounts]


def test_a_huge_sum_is_exact_or_an_error(connection: sa.Connection) -> None:
    amounts = [MONEY_LIMIT - NANO] * 20
    write_and_read(connection, amount=amounts)
    query = sa.select(sa.func.sum(TABLE.c.amount))
    if is_sqlite(connection):
        with pytest.raises(sa.exc.DBAPIError, match="overflow"), connection.begin_nested():
            connection.scalar(query)
    else:
        assert connection.scalar(query) == sum(amounts) == Decimal("19999999999.99999998")


@pytest.mark.parametrize("precision", [1, 6, 28])
def test_money_does_not_depend_on_the_context_of_the_caller(
    connection: sa.Connection, precision: int
) -> None:
    amount = Decimal("123456789.123456789")
    with localcontext(Context(prec=precision)):
        (row,) = write_and_read(connection, amount=[amount])
        assert row.amount == amount
        assert matching(connection, sa.literal(amount, Money()) == TABLE.c.amount) == {0}


@pytest.mark.parametrize("text", ["0.0000000001", "1.0000000009", "-0.1234567891", "NaN"])
def test_money_with_more_than_nine_decimals_is_refused_on_sqlite_and_never_rounded(
    connection: sa.Connection, text: str
) -> None:
    """On PostgreSQL, the CHECKs refuse it."""
    if is_sqlite(connection):
        error = refused(connection, "amount", Decimal(text))
        assert "nine decimals" in str(error)
    else:
        (row,) = write_and_read(connection, amount=[Decimal(text)])
        assert str(row.amount) == str(Decimal(text))


def test_money_with_trailing_zeros_is_stored(connection: sa.Connection) -> None:
    (row,) = write_and_read(connection, amount=[Decimal("1.50000000000000000000")])
    assert row.amount == Decimal("1.5")


# --- Points in time ------------------------------------------------------------------------------

ZONES = st.sampled_from(
    [
        UTC,
        timezone(timedelta(hours=14)),
        timezone(-timedelta(hours=12)),
        timezone(timedelta(hours=5, minutes=45, seconds=30)),
        ZoneInfo("Europe/Berlin"),
        ZoneInfo("America/St_Johns"),
        ZoneInfo("Asia/Kathmandu"),
    ]
)
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 30), timezones=ZONES)  # noqa: DTZ001
near = st.datetimes(
    datetime(2025, 10, 26),  # noqa: DTZ001 - timezones= adds it. Clocks were set back on this day.
    datetime(2025, 10, 26, 3),  # noqa: DTZ001
    timezones=ZONES,
)


@few
@given(st.lists(moments | near, min_size=1, max_size=5))
@example([datetime(999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime(1000, 1, 1, tzinfo=UTC)])
@example([datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, 0, 0, 0, 1, tzinfo=UTC)])
@example([datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)])
def test_a_datetime_of_any_time_zone_is_stored_to_the_microsecond(
    connection: sa.Connection, drawn: list[datetime]
) -> None:
    stored = [row.at for row in write_and_read(connection, at=drawn)]
    # Within one time zone Python compares wall clocks, so compare in UTC.
    utc = [moment.astimezone(UTC) for moment in drawn]
    assert stored == utc
    assert {moment.tzinfo for moment in stored} == {UTC}
    for moment, written in zip(utc, drawn, strict=True):
        for operator in ("__lt__", "__le__", "__eq__"):
            positions = matching(connection, getattr(TABLE.c.at, operator)(written))
            assert positions == {
                index for index, other in enumerate(utc) if getattr(other, operator)(moment)
            }
    ordered = connection.scalars(sa.select(TABLE.c.at).order_by(TABLE.c.at)).all()
    assert ordered == sorted(utc)


def test_a_datetime_without_a_time_zone_is_refused(connection: sa.Connection) -> None:
    naive = datetime(2025, 1, 1)  # noqa: DTZ001
    assert "time zone" in str(refused(connection, "at", naive))


def test_a_time_that_another_program_wrote_is_read_in_any_spelling(
    connection: sa.Connection,
) -> None:
    expected = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
    if not is_sqlite(connection):
        # PostgreSQL reads a time without a zone in the time zone of the writing session.
        connection.execute(sa.text("SET LOCAL timezone = 'UTC'"))
    for text in (
        "2025-03-04 05:06:07",
        "2025-03-04T05:06:07",
        "2025-03-04 05:06:07+00:00",
        "2025-03-04T05:06:07Z",
        "2025-03-04 07:06:07+02:00",
        "2025-03-03 23:06:07.000-06:00",
    ):
        write_and_read(connection, id=[None])
        raw = sa.table(TABLE.name, sa.column("at"))
        connection.execute(sa.update(raw).values(at=sa.literal_column(f"'{text}'")))
        assert connection.scalar(sa.select(TABLE.c.at)) == expected, text


def test_the_clock_of_the_database_is_a_datetime_like_any_other(connection: sa.Connection) -> None:
    before = connection.scalar(sa.select(database_clock()))
    assert before is not None
    assert before.tzinfo is UTC
    assert abs(before - datetime.now(UTC)) < timedelta(minutes=1)
    (row,) = write_and_read(connection, at=[before])
    assert row.at == before
    # The database writes it itself as a default. It must be comparable with what we write.
    connection.execute(sa.update(TABLE).values(at=database_clock()))
    assert matching(connection, before - timedelta(milliseconds=1) <= TABLE.c.at) == {0}
    assert matching(connection, before + timedelta(minutes=1) > TABLE.c.at) == {0}


# --- Ids -----------------------------------------------------------------------------------------


@few
@given(st.lists(st.uuids(), min_size=1, max_size=5))
def test_an_id_is_stored_and_found(connection: sa.Connection, ids: list[UUID]) -> None:
    assert [row.id for row in write_and_read(connection, id=ids)] == ids
    for id_ in ids:
        assert matching(connection, TABLE.c.id == id_) == {
            index for index, other in enumerate(ids) if other == id_
        }
    # Pages of lists depend on this order, in Python and in the database.
    assert connection.scalars(sa.select(TABLE.c.id).order_by(TABLE.c.id)).all() == sorted(ids)


@few
@given(st.uuids())
def test_an_id_that_another_program_wrote_is_read_in_any_spelling(
    connection: sa.Connection, id_: UUID
) -> None:
    for text in (str(id_), id_.hex, str(id_).upper(), id_.hex.upper(), f"{{{id_}}}"):
        write_and_read(connection, amount=[None])
        raw = sa.table(TABLE.name, sa.column("id"))
        connection.execute(sa.update(raw).values(id=sa.literal_column(f"'{text}'")))
        assert connection.scalar(sa.select(TABLE.c.id)) == id_, text


def test_an_id_is_found_by_sqlalchemys_own_type(connection: sa.Connection) -> None:
    """A host's models may use ``sa.Uuid`` for the library's ids, on every engine."""
    id_ = UUID("ABCDEFAB-0000-4000-8000-000000000001")
    stock = sa.table(TABLE.name, sa.column("id", sa.Uuid))
    select_id = sa.select(stock.c.id).where(stock.c.id == id_)
    write_and_read(connection, id=[id_])
    assert connection.scalar(select_id) == id_
    connection.execute(sa.update(TABLE).values(id=new_id()))
    made = connection.scalar(sa.select(TABLE.c.id))
    assert connection.scalar(sa.select(stock.c.id).where(stock.c.id == made)) == made
    connection.execute(sa.update(stock).values(id=id_))
    assert matching(connection, TABLE.c.id == id_) == {0}


@pytest.mark.parametrize("value", ["a0000000-0000-0000-0000-000000000001", "x", 1, b"x" * 16])
def test_only_a_uuid_is_an_id(connection: sa.Connection, value: Any) -> None:
    assert isinstance(refused(connection, "id", value).orig, InvalidArgument | TypeError)


def test_the_database_makes_valid_ids(connection: sa.Connection) -> None:
    write_and_read(connection, number=[*range(200)])
    connection.execute(sa.update(TABLE).values(id=new_id()))
    ids = connection.scalars(sa.select(TABLE.c.id)).all()
    assert len({*ids}) == 200
    assert {(id_.version, id_.variant) for id_ in ids} == {(4, uuid4().variant)}
    # In our spelling; otherwise no query would find them.
    for id_ in ids[:10]:
        assert len(matching(connection, TABLE.c.id == id_)) == 1


# --- Documents -----------------------------------------------------------------------------------

tricky = st.sampled_from(
    [
        "'",
        '"',
        "\\",
        "\\\\",
        "%",
        "%s",
        "%(x)s",
        ":x",
        "?",
        "$1",
        "{}",
        "--",
        "é",
        "😀",
        "\u2028",
        "\n",
    ]
)


def read_json(text: str) -> Any:
    """Read JSON as other readers may: large numbers become doubles."""
    return json.loads(
        text, parse_int=lambda digits: int(digits) if len(digits) < 16 else float(digits)
    )


@few
@given(st.lists(json_values() | st.lists(tricky), min_size=1, max_size=3))
@example([{"'": '"', "\\": "%s %% :a ?", "": "\u0001\x7f", "é😀": [1.5, -0.0, 2**53, 1e-7, None]}])
@example([None])
@example([""])
def test_a_document_is_stored_as_an_equal_json_value(
    connection: sa.Connection, documents: list[Any]
) -> None:
    for ascii_only in (True, False):
        texts = [json.dumps(document, ensure_ascii=ascii_only) for document in documents]
        rows = write_and_read(connection, document=texts)
        assert all(type(row.document) is str for row in rows)
        read = [read_json(row.document) for row in rows]
        # Equal as JSON: true is not 1, members have no order, 1.0 equals 1.
        assert JsonObject({"_": read}) == JsonObject({"_": [*map(read_json, texts)]})


@few
@given(texts())
def test_text_within_a_document_is_stored_exactly(connection: sa.Connection, text: str) -> None:
    (row,) = write_and_read(connection, document=[json.dumps({text: text})])
    assert json.loads(row.document) == {text: text}


def test_a_document_that_is_not_json_is_refused_or_left_to_the_checks(
    connection: sa.Connection,
) -> None:
    if is_sqlite(connection):
        (row,) = write_and_read(connection, document=["{"])
        assert row.document == "{"
    else:
        refused(connection, "document", "{")


def test_a_document_is_also_read_as_text_from_a_subquery(connection: sa.Connection) -> None:
    write_and_read(connection, document=['{"a": [1, "é"]}'])
    inner = sa.select(TABLE.c.document, TABLE.c.position).subquery()
    selected = connection.scalar(sa.select(inner.c.document))
    assert json.loads(str(selected)) == {"a": [1, "é"]}
    returned = connection.scalar(
        sa.update(TABLE)
        .values(document=sa.literal("[true]", JsonText()))
        .returning(TABLE.c.document)
    )
    assert json.loads(str(returned)) == [True]


# --- Many values in one parameter ----------------------------------------------------------------


@few
@given(st.lists(st.uuids(), max_size=6), st.lists(st.uuids(), max_size=6), st.data())
def test_any_of_finds_the_ids_of_an_array(
    connection: sa.Connection, ids: list[UUID], others: list[UUID], data: st.DataObject
) -> None:
    selected = others + (data.draw(st.lists(st.sampled_from(ids))) if ids else [])
    write_and_read(connection, id=ids)
    array = sa.literal(selected, Array(Uuid))
    for condition in (any_of,):
        positions = matching(connection, condition(TABLE.c.id, array))
        assert positions == {index for index, id_ in enumerate(ids) if id_ in selected}


def test_an_empty_array_matches_nothing_and_null_matches_no_array(
    connection: sa.Connection,
) -> None:
    write_and_read(connection, id=[uuid4(), None], number=[1, None])
    for condition in (any_of,):
        assert matching(connection, condition(TABLE.c.id, sa.literal([], Array(Uuid)))) == set()
    assert (
        matching(connection, any_of(TABLE.c.number, sa.literal([], Array(sa.BigInteger)))) == set()
    )
    array = sa.literal([1], Array(sa.BigInteger))
    assert matching(connection, any_of(TABLE.c.number, array)) == {0}


def test_an_array_may_have_more_values_than_a_statement_has_parameters(
    connection: sa.Connection,
) -> None:
    # PostgreSQL allows 65,535 parameters, SQLite 32,766 by default.
    ids = [uuid4() for _ in range(70_000)]
    write_and_read(connection, id=[ids[0], ids[-1], uuid4()])
    assert matching(connection, any_of(TABLE.c.id, sa.literal(ids, Array(Uuid)))) == {0, 1}


@few
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6), st.data())
def test_any_of_finds_numbers(
    connection: sa.Connection, numbers: list[int], data: st.DataObject
) -> None:
    assume(numbers)
    selected = data.draw(st.lists(st.sampled_from(numbers)))
    write_and_read(connection, number=numbers)
    array = sa.literal(selected, Array(sa.BigInteger))
    positions = matching(connection, any_of(TABLE.c.number, array))
    assert positions == {index for index, number in enumerate(numbers) if number in selected}


@few
@given(st.lists(texts() | tricky, min_size=1, max_size=6), st.data())
def test_any_of_finds_texts_with_any_characters(
    connection: sa.Connection, words: list[str], data: st.DataObject
) -> None:
    selected = data.draw(st.lists(st.sampled_from(words) | texts()))
    write_and_read(connection, word=words)
    array = sa.literal(selected, Array(sa.Text))
    positions = matching(connection, any_of(TABLE.c.word, array))
    assert positions == {index for index, word in enumerate(words) if word in selected}


def test_an_array_of_ids_refuses_other_values(connection: sa.Connection) -> None:
    with pytest.raises(sa.exc.StatementError, match=r"uuid\.UUID"), connection.begin_nested():
        matching(connection, any_of(TABLE.c.id, sa.literal([str(uuid4())], Array(Uuid))))
