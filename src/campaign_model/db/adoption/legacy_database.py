"""The database that the repairs are written for, and the SQL that all repairs share.

The tables of legacy databases differ: columns, or whole tables, are missing until the phase
``complete`` has run, and the audit reads them before that. :class:`LegacyDatabase` hides this: it
writes a SELECT with every column, whether or not the database has it.

A :class:`Rule` says how one column is repaired. ``write_ctes`` turns the rules of a table into the
CTEs that both ``write_audit`` and ``write_repair`` use, so that a dry run tells what the repair
does. ``select_batches`` divides the rows of a table into batches for short transactions.

Parameters of the statements, written ``CAST(:name AS type)``:

- ``rows``: the ids of the rows of the batch;
- ``ids``: the ids of the owners of these rows. The owner of a contact is its campaign; a campaign
  and a template are their own owners;
- ``unreadable``: a JSON object with a member ``id/column`` for each value that the library's types
  cannot read. Its value lists the paths of the bad members to remove; ``[]`` is the whole value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import attrs

from campaign_model.db.adoption.catalog import Table
from campaign_model.db.adoption.inspection import Inspection
from campaign_model.db.adoption.plan import MARKERS, value_when_added
from campaign_model.db.checks import checks
from campaign_model.db.schema import quote, quote_text
from campaign_model.errors import InvalidArgument, short_repr
from campaign_model.lifecycle import ContactStatus, Status

STATUS_RULE = {
    "sent": Status.EXPORTED,
    "lemlist": Status.EXPORTED,
    "otherwise": Status.DRAFT,
}
"""What active campaigns without a status become by default: those with sent messages, those with a
Lemlist id, and all others. The first case that applies decides."""

QUARANTINE = "campaign_quarantine"

CREATE_QUARANTINE = f"""
CREATE TABLE IF NOT EXISTS {QUARANTINE} (
    id uuid DEFAULT gen_random_uuid() NOT NULL CONSTRAINT pk_{QUARANTINE} PRIMARY KEY,
    table_name text NOT NULL,
    row_id text NOT NULL,
    column_name text,
    path text[] DEFAULT '{{}}' NOT NULL,
    value jsonb NOT NULL,
    kind text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)"""

_BATCH_OWNERS = 1_000
"""The most owners whose rows are in one batch: campaigns, or templates."""

_BATCH_CONTACTS = 20_000
"""About the most contacts that one transaction repairs or counts."""


@attrs.frozen
class Options:
    """What the operator decides about an adoption: arguments of :func:`adopt`.

    Raises :class:`InvalidArgument` for an unknown status or case.
    """

    status_map: Mapping[str, str] = attrs.field(factory=dict)
    status_rule: Mapping[str, str] = STATUS_RULE
    quarantine: bool = False
    contacts_from_messages: bool = False

    def __attrs_post_init__(self) -> None:
        for word, status in self.status_map.items():
            if status not in {*Status, *ContactStatus}:
                raise InvalidArgument(
                    "status_map",
                    f"status map: {short_repr(word)} cannot become {short_repr(status)}, which is "
                    "not a status",
                )
        for case, status in self.status_rule.items():
            if case not in STATUS_RULE or status not in {*Status}:
                raise InvalidArgument(
                    "status_rule",
                    f"status rule {case}={status}: the case must be one of "
                    f"{', '.join(STATUS_RULE)}, the status one of {', '.join(Status)}",
                )


@attrs.frozen
class LegacyDatabase:
    """Writes SELECTs of the database's tables, and keeps the operator's options."""

    inspection: Inspection
    options: Options

    def select_library_rows(self, table: str, *, owner: str) -> str:
        """Write a SELECT of a library's table: the rows whose column ``owner`` is in ``ids``.

        In place of a missing column it has the value that old rows get when the column is added.
        For a missing table, it returns no rows.
        """
        columns = self.inspection.expected[table].columns
        types = {name: column.type for name, column in columns.items()}
        values = {
            name: name if self.has_column(table, name) else value_when_added(table, name, column)
            for name, column in columns.items()
        }
        rows = f"FROM {quote(table)}\n    WHERE {owner} = ANY(CAST(:ids AS uuid[]))"
        return write_select(types, values, rows if self.has_column(table, owner) else "WHERE false")

    def has_column(self, table: str, column: str) -> bool:
        """Return True if the table is there and has the column."""
        tables = self.inspection.tables
        return table in tables and column in tables[table].columns

    def translate_status(self, statuses: Iterable[str]) -> str:
        """Write an expression for the status that the column ``status`` means.

        It is the column's value if that is one of ``statuses``, or the status that the operator's
        status map gives for the value. Otherwise it is NULL.
        """
        known = [*map(str, statuses)]
        status_map = self.options.status_map.items()
        meanings = {word: status for word, status in status_map if status in known}
        meanings |= {status: status for status in known}
        return f"CAST({quote_text(json.dumps(meanings))} AS jsonb) ->> status"


def write_select(types: Mapping[str, str], values: Mapping[str, str | None], rows: str) -> str:
    """Write a SELECT of ``values``, cast to ``types``.

    The values are SQL expressions; without one, a column is NULL. ``rows`` are the other clauses.
    """
    select_list = ",\n        ".join(
        f"CAST({values.get(name) or 'NULL'} AS {type_}) AS {name}" for name, type_ in types.items()
    )
    return f"    SELECT\n        {select_list}\n    {rows}"


def write_row_id(table: Table, row: str) -> str:
    """Write the id of a ``row`` of any table as text.

    It is the value of the primary key, or a JSON object if the key has several columns. Without a
    primary key, it is the whole row.
    """
    key = table.key
    if not key:
        return f"CAST(to_jsonb({row}) AS text)"
    if len(key) == 1:
        return f"CAST({row}.{quote(key[0])} AS text)"
    members = ", ".join(f"{quote_text(name)}, {row}.{quote(name)}" for name in key)
    return f"CAST(jsonb_build_object({members}) AS text)"


@attrs.frozen
class Rule:
    """How a column is repaired: SQL expressions over the columns that a CTE has read and checked.

    ``new`` is the value after the repair. ``kind`` is the kind of the finding if that differs from
    the old value; ``None`` makes no finding. ``undecided`` is true if the old value needs a
    decision. ``paths`` are the paths of the members of a document that need it, as a JSON array;
    NULL if the whole value does.
    """

    new: str
    kind: str | None = attrs.field(default=None, kw_only=True)
    undecided: str = attrs.field(default="false", kw_only=True)
    paths: str = attrs.field(default="CAST(NULL AS jsonb)", kw_only=True)


def time_rule(column: str, *others: str) -> Rule:
    """Return the rule that repairs a column of times.

    The first readable time of the columns ``others``, or else the present time, replaces a time
    that is absent or unreadable. Without ``others``, such a time becomes NULL.
    """
    times = [f"pg_temp.readable_time({name})" for name in (column, *others)]
    return Rule(
        f"coalesce({', '.join(times)}, now())" if others else times[0],
        kind=f"CASE WHEN {column} IS NULL THEN 'absent' ELSE 'bad_time' END",
    )


def default_rule(column: str, default: str = "0") -> Rule:
    """Return the rule for a column of the library that a host has as well, with NULLs."""
    return Rule(f"coalesce({column}, {default})", kind="'absent'")


def select_batches(database: LegacyDatabase, table: str, condition: str = "true") -> str:
    """Write a query that divides the rows that meet ``condition`` into batches.

    The query returns one row for each batch, with three columns: the ids of the owners and the ids
    of the rows (``ids`` and ``rows`` in the module's docstring), and the number of rows in all
    batches.

    The rows are taken in the order of their owners. Of two rows in one batch, the number of owners
    before them is the same if divided by ``_BATCH_OWNERS`` (without remainder), and so is the
    number of contacts if divided by ``_BATCH_CONTACTS``. So a batch of campaigns may exceed
    ``_BATCH_CONTACTS`` by the contacts of its last campaign.
    """
    owner_sql = "id"
    contacts_sql = "0"  # How many contacts a row stands for: a template has none.
    join_sql = ""
    if table == "campaign_contacts":
        owner_sql, contacts_sql = "campaign_id", "1"
    elif table == "campaigns" and database.has_column("campaign_contacts", "id"):
        contacts_sql = "coalesce(number, 0)"
        join_sql = """
        LEFT JOIN (
            SELECT campaign_id, count(*) AS number
            FROM campaign_contacts
            GROUP BY campaign_id
        ) AS counted ON counted.campaign_id = campaigns.id"""
    return f"""\
SELECT
    array_agg(DISTINCT owner_id),
    array_agg(id ORDER BY id),
    CAST(sum(count(*)) OVER () AS bigint)
FROM (
    SELECT
        id,
        owner_id,
        (dense_rank() OVER (ORDER BY owner_id) - 1) / {_BATCH_OWNERS} AS owner_batch,
        div(sum(contacts) OVER (ORDER BY owner_id, id) - contacts, {_BATCH_CONTACTS})
            AS contact_batch
    FROM (
        SELECT id, {owner_sql} AS owner_id, {contacts_sql} AS contacts
        FROM {table}{join_sql}
        WHERE {condition}
    ) AS selected
) AS numbered
GROUP BY owner_batch, contact_batch
ORDER BY owner_batch, contact_batch"""


def needs_repair(database: LegacyDatabase, table: str) -> str:
    """Write the condition for a row that has not been repaired, or that breaks a constraint.

    The condition uses all columns, so it works only after the phase ``complete``.
    """
    not_null = [
        f"{name} IS NOT NULL"
        for name, column in database.inspection.expected[table].columns.items()
        if column.not_null
    ]
    conditions = [f"({condition})" for condition in checks("postgresql")[table].values()]
    is_correct = "\n    AND ".join([*not_null, *conditions])
    return f"({MARKERS[table]} IS NULL OR NOT coalesce(\n    {is_correct},\n    false\n))"


def has_no_tenant(database: LegacyDatabase, row: str) -> str:
    """Write the condition that the tenant of ``row`` is NULL or does not exist."""
    return f"""NOT EXISTS (
            SELECT
            FROM {quote(database.inspection.host.tenants)} AS tenant
            WHERE tenant.id = {row}.tenant_id
        )"""


def write_ctes(name: str, rules: Mapping[str, Rule], source: str) -> str:
    """Write the CTEs ``<name>`` and ``<name>_finding`` from the rules of a table.

    ``source`` is the CTE with the columns that the rules read. ``<name>`` has its columns, for each
    rule a column ``new_...`` with the value after the repair, and ``undecided``, which is true if
    any value of the row needs a decision. ``<name>_finding`` has one row for each value that
    changes or needs a decision.
    """
    new_values = ",\n        ".join(f"{rule.new} AS new_{column}" for column, rule in rules.items())
    undecided = "\n            OR ".join(
        f"({rule.undecided})" for rule in rules.values() if rule.undecided != "false"
    )
    found = {column: rule for column, rule in rules.items() if rule.kind is not None}
    findings = ",\n            ".join(
        f"('{column}', {rule.kind}, to_jsonb({column}), to_jsonb(new_{column}), {rule.undecided},"
        f" {rule.paths})"
        for column, rule in found.items()
    )
    differs = "\n            OR ".join(
        f"{column} IS DISTINCT FROM new_{column}" for column in found
    )
    return f"""
{name} AS (
    SELECT
        *,
        {new_values},
        {undecided} AS undecided
    FROM {source}
),
{name}_finding AS (
    SELECT {name}.id, finding.*
    FROM {name}
    CROSS JOIN LATERAL (
        VALUES
            {findings}
    ) AS finding (column_name, kind, before, after, undecided, paths)
    -- Most rows have no finding. This first condition saves the JSON of their values.
    WHERE (
            {name}.undecided
            OR {differs}
        )
        AND (finding.undecided OR finding.before IS DISTINCT FROM finding.after)
)"""


def write_audit(ctes: str, findings: Mapping[str, str]) -> str:
    """Write a query that lists the findings about the rows whose owners are ``ids``.

    ``findings`` maps each CTE with findings to its table. The columns are table, row id, column,
    kind, old value, new value, and whether it needs a decision.
    """
    columns = "column_name, kind, before, after, undecided"
    select_findings = "\n    UNION ALL\n".join(
        f"    SELECT {quote_text(table)} AS table_name, CAST(id AS text) AS row_id, {columns}\n"
        f"    FROM {cte}"
        for cte, table in findings.items()
    )
    return f"""WITH{ctes}
SELECT table_name, row_id, column_name, kind, CAST(before AS text), CAST(after AS text), undecided
FROM (
{select_findings}
) AS finding
ORDER BY table_name, row_id, column_name"""


def write_repair(
    database: LegacyDatabase,
    table: str,
    name: str,
    ctes: str,
    rules: Mapping[str, Rule],
    other_writes: str = "",
) -> str:
    """Write a statement that repairs ``rows`` of ``table``.

    ``ctes`` end with those of :func:`write_ctes`, which got the same ``name`` and ``rules``.
    ``other_writes`` are CTEs that write to other tables, each after a comma. If the operator chose
    the quarantine, the statement also moves the values that need a decision there.

    The statement returns the number of rows that need a decision. If there are any and there is no
    quarantine, the transaction must be rolled back.
    """
    # The planner compares each row with every element of an array, but it hashes a subquery.
    is_in_rows = f"{name}.id IN (SELECT unnest(CAST(:rows AS uuid[])))"
    quarantined = ""
    if database.options.quarantine:
        quarantined = f""",
quarantined AS (
    INSERT INTO {QUARANTINE} (table_name, row_id, column_name, path, value, kind)
    SELECT
        '{table}',
        CAST(id AS text),
        column_name,
        member.path,
        CASE
            WHEN member.path = '{{}}' THEN coalesce(before, 'null')
            ELSE pg_temp.decode_json(before) #> member.path
        END,
        kind
    FROM {name}_finding AS {name}
    CROSS JOIN LATERAL (
        SELECT ARRAY(SELECT jsonb_array_elements_text(element)) AS path
        FROM jsonb_array_elements(coalesce(paths, '[[]]')) AS element
    ) AS member
    WHERE undecided AND {is_in_rows}
)"""
    # A rule whose new value is its column makes a finding only.
    assignments = ",\n        ".join(
        f"{column} = {name}.new_{column}" for column, rule in rules.items() if rule.new != column
    )
    return f"""WITH{ctes}{quarantined}{other_writes},
repaired AS (
    UPDATE {table} AS present
    SET
        {assignments}
    FROM {name}
    WHERE present.id = {name}.id AND {is_in_rows}
)
SELECT count(*)
FROM {name}
WHERE undecided AND {is_in_rows}"""


def quote_texts(texts: Iterable[str]) -> str:
    """Write texts as a list of SQL literals."""
    return ", ".join(quote_text(str(text)) for text in texts)
