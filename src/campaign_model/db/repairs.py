"""The SQL that finds what is wrong with the rows of an older database, and puts it right.

Audit and repair are one piece of SQL: it says of every column what stands there and what should,
so that a dry run shows what the repair will do. In it ``@ids@`` stands for an array of ids of
campaigns (or templates), ``@rows@`` for one of campaign contacts, and ``@unreadable@`` for an
array of texts ``id/column`` naming the documents that only the codec knows to be unreadable.

A value "to be decided on" is one that cannot be put right without losing something. Its new value
is what an absent one would get; whoever asks for that has the old one kept in the quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from campaign_model.campaign import ADOPTED, MAX_DESCRIPTION, MAX_NAME
from campaign_model.db import schema
from campaign_model.db.catalog import Catalog
from campaign_model.db.checks import checks
from campaign_model.db.plan import MARKERS, value_when_added
from campaign_model.db.rules import (
    DOCUMENTS,
    QUARANTINE,
    RUN_TIME_KEYS,
    SENT,
    Reference,
    Rules,
)
from campaign_model.db.schema import quoted
from campaign_model.lifecycle import (
    Action,
    ContactAction,
    ContactStatus,
    Status,
    apply_contact,
    resting_status,
    target,
)
from campaign_model.store.tables import COUNTED, HostTables

__all__ = ["Repairs"]


@attrs.frozen
class _Cell:
    """One column of a row: what is found there, and what it becomes.

    ``undecided`` is the condition under which that needs a decision; ``noted`` what the baseline
    of the history keeps of the old value. All but ``column`` are SQL.
    """

    column: str
    kind: str
    undecided: str = "false"
    noted: str | None = None

    @property
    def values(self) -> str:
        """A row of VALUES: column, kind, before, after, undecided, noted."""
        before, after = f"to_jsonb(this.{self.column})", f"to_jsonb(this.new_{self.column})"
        noted = f"coalesce({before}, 'null')" if self.noted is None else self.noted
        return f"('{self.column}', {self.kind}, {before}, {after}, {self.undecided}, {noted})"


@attrs.frozen
class Repairs:
    """Builds the statements for the tables that are there.

    ``settle`` has totals counted anew: only while no worker of this library is about.
    """

    present: Catalog
    host: HostTables
    messages: str
    rules: Rules
    references: Sequence[Reference] = ()
    settle: bool = True

    # Statements. Those that look say of each finding: table, id, column, kind, before, after,
    # undecided. Those that change say how many values are still to be decided on: then nothing
    # must come of it.

    def campaign_findings(self) -> str:
        """Everything about a batch of campaigns and their contacts."""
        listed = "'{}', id, column_name, kind, before::text, after::text, undecided"
        queries = [
            f"SELECT {listed.format('campaigns')} FROM campaign_finding",
            f"SELECT {listed.format('campaign_contacts')} FROM contact_finding",
        ]
        if self._reads_messages:
            queries.append(
                f"SELECT {listed.format('campaign_contacts')} FROM written_finding UNION ALL "
                f"SELECT {listed.format(self.messages)} FROM message_finding"
            )
        return f"{self._campaigns()} {' UNION ALL '.join(queries)} ORDER BY 1, 2, 3"

    def template_findings(self) -> str:
        """Everything about a batch of templates."""
        return (
            f"{self._templates()} SELECT 'campaign_templates', id, column_name, kind, "
            "before::text, after::text, undecided FROM template_finding ORDER BY 2, 3"
        )

    def documents(self, table: str) -> str:
        """What of a batch of campaigns or templates only the codec can judge."""
        texts = [self._column(table, "found", name) + "::text" for name in ("name", "description")]
        for name in DOCUMENTS[table]:
            column = self._column(table, "found", name)
            texts.append(f"CASE WHEN {_decoded(column)} IS NOT NULL THEN {column}::text END")
        return f"SELECT id, {', '.join(texts)} FROM {table} AS found WHERE id = ANY(@ids@)"

    def unfinished(self, table: str) -> str:
        """The condition under which a row of ours still needs repair; the columns are all there."""
        rules = [f"({condition})" for condition in checks("postgresql")[table].values()]
        needed = [
            f"{name} IS NOT NULL"
            for name, column in schema.tables(self.host)[table].columns.items()
            if column.not_null
        ]
        return (
            f"({MARKERS[table]} IS NULL OR NOT coalesce({' AND '.join([*needed, *rules])}, false))"
        )

    def drifted(self) -> str:
        """The first thousand campaigns whose totals are not those of their contacts."""
        counts = ", ".join(
            f"count(*) FILTER (WHERE status = '{status}') AS {status}" for status in COUNTED
        )
        names = [*(status.value for status in COUNTED), "cost", "unknown_costs"]
        sums = ", ".join(f"sum({name}) AS {name}" for name in names)
        differ = " OR ".join(
            f"coalesce(counted.{name}, 0) <> coalesce(kept.{name}, 0)" for name in names
        )
        return f"""SELECT campaign_id FROM (
    SELECT campaign_id, {counts}, sum(generation_cost) AS cost, sum(unknown_costs) AS unknown_costs
    FROM campaign_contacts GROUP BY campaign_id
) AS counted FULL JOIN (
    SELECT campaign_id, {sums} FROM campaign_totals GROUP BY campaign_id
) AS kept USING (campaign_id)
WHERE {differ} ORDER BY 1 LIMIT 1000"""

    def misplaced(self) -> str:
        """The contacts of a batch of campaigns that are those of another tenant."""
        return f"{self._contacts()} SELECT id FROM contact WHERE misplaced ORDER BY id"

    def move_misplaced(self) -> tuple[str, ...]:
        """Move such rows into the quarantine, and what refers to them."""
        moves = []
        for one in self.references:
            table, column = quoted(one.table), quoted(one.column)
            moves.append(f"""WITH aside AS (
    INSERT INTO {QUARANTINE} (table_name, row_id, column_name, value, kind)
    SELECT {_literal(one.table)}, coalesce(to_jsonb(referring)->>'id', ''),
        {_literal(one.column)}, to_jsonb({column}), 'other_tenant'
    FROM {table} AS referring WHERE {column} = ANY(@rows@)
)
UPDATE {table} SET {column} = NULL WHERE {column} = ANY(@rows@)""")
        moves.append(f"""WITH gone AS (
    DELETE FROM campaign_contacts WHERE id = ANY(@rows@) RETURNING *
)
INSERT INTO {QUARANTINE} (table_name, row_id, value, kind)
SELECT 'campaign_contacts', id::text, to_jsonb(gone), 'other_tenant' FROM gone""")
        return tuple(moves)

    def repair_contacts(self) -> str:
        """Put contacts right, those of ``@rows@``, which belong to the campaigns of ``@ids@``."""
        changes = ", ".join(
            f"{name} = this.new_{name}"
            for name in (
                *("tenant_id", "status", "enrichment_gaps", "generation_cost", "unknown_costs"),
                *("rank", "claimed_at", "added_at"),
            )
        )
        # A list of so many ids is searched from its beginning for each row, a subquery is hashed.
        these = "id IN (SELECT unnest(@rows@))"
        aside = self._aside("campaign_contacts", "contact_finding", f" AND {these}")
        return f"""{self._contacts()}{aside},
repaired AS (
    UPDATE campaign_contacts AS present SET {changes}
    FROM contact AS this WHERE present.id = this.id AND this.{these}
)
SELECT count(*) FROM contact AS this WHERE this.{these} AND ({_undecided(self._contact_cells())})"""

    def insert_written(self) -> str | None:
        """Add the contacts that only messages know; ``None`` when nobody asked for them."""
        if not self._reads_messages:
            return None
        return f"""{self._campaigns()}
INSERT INTO campaign_contacts (id, tenant_id, campaign_id, contact_id, status, generation_cost,
    unknown_costs, rank, claimed_at, added_at, generated_at)
SELECT id, tenant_id, campaign_id, contact_id, '{ContactStatus.GENERATED}', generation_cost,
    unknown_costs, position, generated_at, added_at, generated_at
FROM written"""

    def repair_campaigns(self) -> str:
        """Put a batch of campaigns right, begin their history and settle their totals."""
        columns = [cell.column for cell in self._campaign_cells()]
        changes = ", ".join(f"{name} = this.new_{name}" for name in columns)
        settle = ""
        if self.settle:
            names = [*(status.value for status in COUNTED), "cost", "unknown_costs"]
            listed, updates = ", ".join(names), ", ".join(f"{n} = excluded.{n}" for n in names)
            settle = f""",
totalled AS (
    INSERT INTO campaign_totals (tenant_id, campaign_id, shard, {listed})
    SELECT this.tenant_id, this.id, 0, {", ".join(f"coalesce(total.{name}, 0)" for name in names)}
    FROM campaign AS this LEFT JOIN total ON total.campaign_id = this.id
    WHERE total.campaign_id IS NOT NULL OR EXISTS (
        SELECT FROM campaign_totals AS kept
        WHERE kept.tenant_id = this.tenant_id AND kept.campaign_id = this.id
    )
    ON CONFLICT (tenant_id, campaign_id, shard) DO UPDATE SET {updates}, low_watermark = NULL
)"""
        return f"""{self._campaigns()}{self._aside("campaigns", "campaign_finding")}{settle},
noted AS (
    INSERT INTO campaign_history (id, tenant_id, campaign_id, version, action, source, target,
        reason, at)
    SELECT md5('{ADOPTED}/' || this.id)::uuid, this.tenant_id, this.id, 1, '{ADOPTED}',
        this.new_status, this.new_status, before.values,
        coalesce(this.updated_at, this.created_at, now())
    FROM campaign AS this LEFT JOIN (
        SELECT id, jsonb_object_agg(column_name, noted)::text AS values FROM campaign_finding
        WHERE noted IS NOT NULL GROUP BY id
    ) AS before ON before.id = this.id
    WHERE this.fresh
    ON CONFLICT (tenant_id, campaign_id, version) DO NOTHING
),
repaired AS (
    UPDATE campaigns AS present SET {changes}, version = coalesce(present.version, 1),
        next_position = greatest(present.next_position, this.end_position)
    FROM campaign AS this
    WHERE present.id = this.id AND (this.fresh OR this.id IN (SELECT id FROM campaign_finding))
)
SELECT count(*) FROM campaign AS this WHERE {_undecided(self._campaign_cells())}"""

    def repair_templates(self) -> str:
        """Put a batch of templates right."""
        columns = [cell.column for cell in _TEMPLATE_CELLS]
        changes = ", ".join(f"{name} = this.new_{name}" for name in columns)
        aside = self._aside("campaign_templates", "template_finding")
        return f"""{self._templates()}{aside},
repaired AS (
    UPDATE campaign_templates AS present
    SET {changes}, version = coalesce(present.version, 1)
    FROM template AS this WHERE present.id = this.id
)
SELECT count(*) FROM template AS this WHERE {_undecided(_TEMPLATE_CELLS)}"""

    # What they are made of.

    def _column(self, table: str, alias: str, name: str, absent: str = "NULL") -> str:
        """A column of a row, or what stands for it where the table has none yet."""
        if table in self.present and name in self.present[table].columns:
            return f"{alias}.{name}"
        return f"CAST({absent} AS {schema.tables(self.host)[table].columns[name].type})"

    def _columns(self, table: str, alias: str, names: Iterable[str]) -> str:
        wanted = schema.tables(self.host)[table].columns
        found = []
        for name in names:
            # A new column has its default in every row; a rule decides on those that have none.
            added_with = value_when_added(table, name, wanted[name]) or "NULL"
            found.append(f"{self._column(table, alias, name, added_with)} AS {name}")
        return ", ".join(found)

    def _fresh(self, table: str, alias: str) -> str:
        marker = MARKERS[table]
        known = table in self.present and marker in self.present[table].columns
        return f"{alias}.{marker} IS NULL" if known else "true"

    @property
    def _reads_messages(self) -> bool:
        return self.rules.contacts_from_messages and self._has_messages("campaign_id", "contact_id")

    def _has_messages(self, *columns: str) -> bool:
        table = self.present.get(self.messages)
        return table is not None and table.columns.keys() >= set(columns)

    def _word(self, known: Iterable[str]) -> str:
        """The status that a word means, if it means one."""
        words = [*known]
        mapped = [
            f"WHEN status = {_literal(old)} THEN {_literal(new)}"
            for old, new in self.rules.status_map.items()
            if new in words and old not in words
        ]
        return f"CASE WHEN status IN ({_literals(words)}) THEN status {' '.join(mapped)} END"

    def _aside(self, table: str, findings: str, which: str = "") -> str:
        if not self.rules.quarantine:
            return ""
        return f""",
aside AS (
    INSERT INTO {QUARANTINE} (table_name, row_id, column_name, value, kind)
    SELECT '{table}', id::text, column_name, before, kind FROM {findings} WHERE undecided{which}
)"""

    def _contact_cells(self) -> tuple[_Cell, ...]:
        in_use = " OR ".join(
            f"this.id IN (SELECT {quoted(one.column)} FROM {quoted(one.table)})"
            for one in self.references
            if one.not_null
        )
        return (
            _Cell(
                "contact_id",
                # Looked for only where there is something: those tables may be large.
                f"CASE WHEN NOT this.misplaced THEN NULL WHEN {in_use or 'false'} "
                "THEN 'other_tenant_in_use' ELSE 'other_tenant' END",
                "this.misplaced",
            ),
            _Cell(
                "tenant_id",
                "CASE WHEN this.tenant_id IS NULL THEN 'absent' ELSE 'other_tenant' END",
                "this.tenant_id IS NOT NULL AND this.tenant_id <> this.new_tenant_id",
            ),
            _Cell(
                "status",
                "CASE WHEN this.status IS NULL THEN 'status_absent' WHEN this.word IS NULL "
                "THEN 'unknown_status' WHEN this.word <> this.status THEN 'status_mapped' "
                "ELSE 'stuck' END",
                "this.status IS NOT NULL AND this.word IS NULL",
            ),
            _Cell(
                "enrichment_gaps",
                "CASE WHEN NOT this.good_gaps THEN 'not_gaps' ELSE 'double_encoded' END",
                "NOT this.good_gaps",
            ),
            _Cell(
                "generation_cost",
                "CASE WHEN this.good_cost THEN 'absent' ELSE 'bad_amount' END",
                "NOT this.good_cost",
            ),
            _Cell("added_at", "'absent'"),
        )

    def _contacts(self) -> str:
        if "campaign_contacts" not in self.present:
            return f"WITH {_NO_CONTACTS}"
        columns = self._columns(
            "campaign_contacts",
            "found",
            (
                *("tenant_id", "status", "enrichment_gaps", "generation_cost", "unknown_costs"),
                *("rank", "claimed_at", "added_at", "generated_at"),
            ),
        )
        generated, failed = ContactStatus.GENERATED, ContactStatus.FAILED
        ended = _literals((generated, failed))
        begun = _literals((generated, failed, ContactStatus.GENERATING))
        cost_rule = checks("postgresql")["campaign_contacts"]["generation_cost"]
        return f"""WITH found_contact AS (
    SELECT found.id, found.campaign_id, found.contact_id, {columns},
        {self._fresh("campaign_contacts", "found")} AS fresh, campaigns.tenant_id AS new_tenant_id,
        person.tenant_id IS DISTINCT FROM campaigns.tenant_id AS misplaced
    FROM campaign_contacts AS found
        JOIN campaigns ON campaigns.id = found.campaign_id
        LEFT JOIN {quoted(self.host.contacts)} AS person ON person.id = found.contact_id
    WHERE found.campaign_id = ANY(@ids@)
),
read_contact AS (
    SELECT *, {self._word(ContactStatus)} AS word, {_decoded("enrichment_gaps")} AS gaps,
        coalesce({cost_rule}, true) AS good_cost
    FROM found_contact
),
judged_contact AS (
    SELECT *, CASE jsonb_typeof(gaps) WHEN 'array' THEN NOT jsonb_path_exists(
            gaps, 'strict $[*] ? (@.type() != "string" || @ == "")'
        ) ELSE gaps IS NULL END AS good_gaps,
        CASE WHEN good_cost THEN coalesce(generation_cost, 0) ELSE 0 END AS new_generation_cost,
        unknown_costs + CASE WHEN (generation_cost IS NULL OR NOT good_cost) AND word IN ({ended})
            THEN 1 ELSE 0 END AS new_unknown_costs,
        coalesce(added_at, generated_at, now()) AS new_added_at
    FROM read_contact
),
contact AS (
    SELECT *, contact_id AS new_contact_id, CASE WHEN good_gaps THEN gaps END
            AS new_enrichment_gaps,
        CASE WHEN word IS NULL THEN '{resting_status(None)}'
            WHEN fresh AND word = '{ContactStatus.GENERATING}' THEN {_resting("gaps")}
            ELSE word END AS new_status,
        CASE WHEN fresh AND claimed_at IS NULL AND (word IN ({begun}) OR generated_at IS NOT NULL
                OR new_generation_cost > 0)
            THEN coalesce(generated_at, new_added_at) ELSE claimed_at END AS new_claimed_at,
        CASE WHEN fresh THEN row_number() OVER (
            PARTITION BY campaign_id ORDER BY coalesce(added_at, generated_at), id
        ) - 1 ELSE rank END AS new_rank
    FROM judged_contact
),
{_findings("contact", self._contact_cells())}"""

    def _written(self) -> str:
        """Contacts that only messages know, of campaigns that have no other."""
        if not self._reads_messages:
            return ""
        columns = self.present[self.messages].columns
        cost = "found.generation_cost_usd" if "generation_cost_usd" in columns else "NULL::numeric"
        at = "found.created_at" if "created_at" in columns else "now()"
        unless = ""
        if "campaign_contacts" in self.present:
            unless = (
                " AND NOT EXISTS (SELECT FROM campaign_contacts AS known"
                " WHERE known.campaign_id = found.campaign_id)"
            )
        cost_rule = checks("postgresql")["campaign_contacts"]["generation_cost"]
        cells = (
            _Cell("contact_id", "'other_tenant'", "this.misplaced"),
            _Cell("generation_cost", "'bad_amount'", "NOT this.good_cost"),
        )
        return f""",
found_message AS (
    SELECT found.id, found.campaign_id, found.contact_id, found.contact_id AS new_contact_id,
        campaigns.tenant_id, {cost} AS generation_cost, {cost} AS new_generation_cost,
        coalesce({at}, now()) AS at,
        person.tenant_id IS DISTINCT FROM campaigns.tenant_id AS misplaced
    FROM {quoted(self.messages)} AS found
        JOIN campaigns ON campaigns.id = found.campaign_id
        LEFT JOIN {quoted(self.host.contacts)} AS person ON person.id = found.contact_id
    WHERE found.campaign_id = ANY(@ids@) AND found.contact_id IS NOT NULL
        AND {self._fresh("campaigns", "campaigns")}{unless}
),
message AS (
    SELECT *, coalesce({cost_rule}, true) AS good_cost FROM found_message
),
{_findings("message", cells)},
written AS (
    SELECT md5(campaign_id || '/' || contact_id)::uuid AS id, tenant_id, campaign_id, contact_id,
        coalesce(sum(generation_cost) FILTER (WHERE good_cost), 0) AS generation_cost,
        count(*) FILTER (WHERE generation_cost IS NULL OR NOT good_cost) AS unknown_costs,
        min(at) AS added_at, max(at) AS generated_at, row_number() OVER (
            PARTITION BY campaign_id ORDER BY min(at), contact_id
        ) - 1 AS position
    FROM message WHERE NOT misplaced
    GROUP BY tenant_id, campaign_id, contact_id
),
written_finding AS (
    SELECT id, NULL AS column_name, 'from_messages' AS kind, CAST(NULL AS jsonb) AS before,
        jsonb_build_object('campaign_id', campaign_id, 'contact_id', contact_id,
            'status', '{ContactStatus.GENERATED}', 'generation_cost', generation_cost) AS after,
        false AS undecided
    FROM written
)"""

    def _totals(self) -> str:
        counts = ", ".join(
            f"count(*) FILTER (WHERE status = '{status}') AS {status}" for status in COUNTED
        )
        source = """
        SELECT campaign_id, new_status AS status, new_generation_cost AS generation_cost,
            new_unknown_costs AS unknown_costs, new_rank AS rank
        FROM contact WHERE NOT misplaced"""
        if self._reads_messages:
            source += f"""
        UNION ALL
        SELECT campaign_id, '{ContactStatus.GENERATED}', generation_cost, unknown_costs, position
        FROM written"""
        excluded = ContactStatus.EXCLUDED
        return f""",
total AS (
    SELECT campaign_id, {counts}, count(*) FILTER (WHERE status <> '{excluded}') AS contacts,
        sum(generation_cost) AS cost, sum(unknown_costs) AS unknown_costs,
        max(rank) + 1 AS next_position
    FROM ({source}
    ) AS every_contact
    GROUP BY campaign_id
)"""

    def _campaign_cells(self) -> tuple[_Cell, ...]:
        keys = _literals(RUN_TIME_KEYS)
        cells = (
            _Cell("owner_id", "'other_tenant'", "this.owner_id IS NOT NULL AND this.stranger"),
            _Cell("name", "'bad_name'", "NOT this.good_name"),
            _Cell("description", "'bad_description'", "NOT this.good_description"),
            _Cell("is_active", "'absent'"),
            _Cell(
                "status",
                "CASE WHEN this.status IS NOT NULL AND this.word IS NULL THEN 'unknown_status' "
                "WHEN NOT this.new_is_active THEN 'status_inactive' "
                "WHEN this.word IS NULL AND this.sent THEN 'status_sent' "
                "WHEN this.word IS NULL AND this.lemlist THEN 'status_lemlist' "
                "WHEN this.word IS NULL THEN 'status_otherwise' "
                "WHEN this.word <> this.status THEN 'status_mapped' ELSE 'stuck' END",
                "this.status IS NOT NULL AND this.word IS NULL",
            ),
            _document_cell("template_config", "not_steps", noted="CAST(NULL AS jsonb)"),
            _document_cell(
                "generation_config",
                "not_settings",
                noted=f"""CASE WHEN jsonb_typeof(this.read_generation_config) = 'object' THEN (
        SELECT jsonb_object_agg(key, value) FROM jsonb_each(this.read_generation_config)
        WHERE key IN ({keys})
    ) END""",
                run_time=f"this.read_generation_config ?| ARRAY[{keys}]",
            ),
            _Cell("created_at", "'absent'"),
            _Cell("updated_at", "'absent'"),
        )
        if not self.settle:
            return cells
        totals = ("total_contacts", "generated_count", "generation_cost")
        return (*cells, *(_Cell(name, "'settled'") for name in totals))

    def _campaigns(self) -> str:
        columns = self._columns(
            "campaigns",
            "found",
            (
                *("owner_id", "name", "description", "status", "is_active", "template_config"),
                *("generation_config", "total_contacts", "generated_count", "generation_cost"),
                *("created_at", "updated_at"),
            ),
        )
        lemlist = "false"
        if "lemlist_campaign_id" in self.present["campaigns"].columns:
            lemlist = "coalesce(btrim(found.lemlist_campaign_id::text) <> '', false)"
        sent = "false"
        if self._has_messages("campaign_id", "status"):
            sent = f"""found.id IN (
            SELECT campaign_id FROM {quoted(self.messages)}
            WHERE campaign_id = ANY(@ids@) AND status::text IN ({_literals(SENT)})
        )"""
        stuck, keys = target(Action.CANCEL_GENERATION), _literals(RUN_TIME_KEYS)
        totals = ""
        if self.settle:
            totals = """,
        coalesce(total.contacts, 0) AS new_total_contacts,
        coalesce(total.generated, 0) AS new_generated_count,
        coalesce(total.cost, 0) AS new_generation_cost"""
        return f"""{self._contacts()}{self._written()}{self._totals()},
found_campaign AS (
    SELECT found.id, found.tenant_id, {columns}, {lemlist} AS lemlist, {sent} AS sent,
        {self._fresh("campaigns", "found")} AS fresh, NOT EXISTS (
            SELECT FROM {quoted(self.host.owners)} AS owner
            WHERE owner.id = found.owner_id AND owner.tenant_id = found.tenant_id
        ) AS stranger
    FROM campaigns AS found WHERE found.id = ANY(@ids@)
),
read_campaign AS (
    SELECT *, {self._word(Status)} AS word, coalesce(is_active, true) AS new_is_active,
        {_decoded("template_config")} AS read_template_config,
        {_decoded("generation_config")} AS read_generation_config
    FROM found_campaign
),
judged_campaign AS (
    SELECT *, {_JUDGEMENTS.format(steps="template_config", settings="generation_config")}
    FROM read_campaign
),
campaign AS (
    SELECT judged_campaign.*, CASE WHEN NOT stranger THEN owner_id END AS new_owner_id,
        {_NEW_VALUES.format(steps="template_config", settings="generation_config", run_time=keys)},
        CASE WHEN good_name THEN name ELSE 'Campaign ' || id END AS new_name,
        CASE WHEN NOT new_is_active THEN '{target(Action.DELETE)}'
            WHEN word IS NULL AND sent THEN '{self.rules.sent}'
            WHEN word IS NULL AND lemlist THEN '{self.rules.lemlist}'
            WHEN word IS NULL THEN '{self.rules.otherwise}'
            WHEN fresh AND word = '{Status.GENERATING}' THEN '{stuck}' ELSE word END AS new_status,
        coalesce(updated_at, created_at, now()) AS new_updated_at,
        total.next_position AS end_position{totals}
    FROM judged_campaign LEFT JOIN total ON total.campaign_id = judged_campaign.id
),
{_findings("campaign", self._campaign_cells())}"""

    def _templates(self) -> str:
        columns = self._columns(
            "campaign_templates",
            "found",
            (
                *("tenant_id", "name", "description", "steps", "default_config", "is_system"),
                *("created_at", "updated_at"),
            ),
        )
        return f"""WITH found_template AS (
    SELECT found.id, {columns}, EXISTS (
            SELECT FROM campaign_templates AS other
            WHERE other.tenant_id = found.tenant_id AND other.name = found.name
                AND other.id < found.id
        ) AS doubled
    FROM campaign_templates AS found WHERE found.id = ANY(@ids@)
),
read_template AS (
    SELECT *, {_decoded("steps")} AS read_steps,
        {_decoded("default_config")} AS read_default_config
    FROM found_template
),
judged_template AS (
    SELECT *, {_JUDGEMENTS.format(steps="steps", settings="default_config")} FROM read_template
),
template AS (
    SELECT *, {_NEW_VALUES.format(steps="steps", settings="default_config", run_time="")},
        CASE WHEN NOT good_name THEN 'Template ' || id
            WHEN doubled THEN left(name, {MAX_NAME - 40}) || ' (' || id || ')'
            ELSE name END AS new_name,
        tenant_id IS NULL AS new_is_system,
        coalesce(updated_at, created_at, now()) AS new_updated_at
    FROM judged_template
),
{_findings("template", _TEMPLATE_CELLS)}"""


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literals(texts: Iterable[str]) -> str:
    return ", ".join(_literal(str(text)) for text in texts)


def _decoded(column: str) -> str:
    return (
        f"CASE jsonb_typeof({column}) WHEN 'string' THEN pg_temp.decoded({column}) "
        f"ELSE nullif({column}, 'null') END"
    )


def _resting(gaps: str) -> str:
    unknown, none, some = (
        apply_contact(ContactStatus.GENERATING, ContactAction.RELEASE, known)
        for known in (None, (), ("gap",))
    )
    return (
        f"CASE WHEN {gaps} IS NULL OR NOT good_gaps THEN '{unknown}' "
        f"WHEN {gaps} = '[]' THEN '{none}' ELSE '{some}' END"
    )


def _findings(of: str, cells: Iterable[_Cell]) -> str:
    cells = tuple(cells)
    values = ",\n        ".join(cell.values for cell in cells)
    # Said of the row first: most have nothing in them that would be worth spelling out.
    different = " OR ".join(
        f"this.{cell.column} IS DISTINCT FROM this.new_{cell.column}" for cell in cells
    )
    return f"""{of}_finding AS (
    SELECT this.id, cell.* FROM {of} AS this CROSS JOIN LATERAL (VALUES
        {values}
    ) AS cell (column_name, kind, before, after, undecided, noted)
    WHERE ({different} OR {_undecided(cells)})
        AND (cell.undecided OR cell.before IS DISTINCT FROM cell.after)
)"""


def _undecided(cells: Iterable[_Cell]) -> str:
    return " OR ".join(f"({cell.undecided})" for cell in cells)


def _document_cell(
    column: str, bad: str, *, noted: str | None = None, run_time: str = "false"
) -> _Cell:
    return _Cell(
        column,
        f"CASE WHEN NOT this.good_{column} THEN '{bad}'"
        f" WHEN this.read_{column} IS NULL THEN 'absent' WHEN {run_time} THEN 'run_time_keys'"
        f" WHEN jsonb_typeof(this.{column}) = 'string' THEN 'double_encoded' ELSE 'absent' END",
        f"NOT this.good_{column}",
        noted,
    )


def _readable(column: str, rule: str) -> str:
    return f"coalesce({rule}, false) AND id || '/{column}' <> ALL(@unreadable@) AS good_{column}"


def _judgements() -> str:
    """Which of the values that campaigns and templates share are good ones."""
    rules = checks("postgresql")["campaigns"]
    judged = []
    for part, column in (("steps", "template_config"), ("settings", "generation_config")):
        rule = rules[column].replace("{", "{{").replace("}", "}}")
        read = f"read_{{{part}}}"
        judged.append(_readable(f"{{{part}}}", f"{read} IS NULL OR {rule.replace(column, read)}"))
    judged.append(_readable("name", f"btrim(name) <> '' AND char_length(name) <= {MAX_NAME}"))
    longest = f"char_length(coalesce(description, '')) <= {MAX_DESCRIPTION}"
    judged.append(_readable("description", longest))
    return ",\n        ".join(judged)


_JUDGEMENTS = _judgements()
_NEW_VALUES = """CASE WHEN good_{steps} AND read_{steps} IS NOT NULL
            THEN pg_temp.filled(read_{steps}) ELSE '[]' END AS new_{steps},
        CASE WHEN good_{settings} AND read_{settings} IS NOT NULL
            THEN read_{settings} - CAST(ARRAY[{run_time}] AS text[])
            ELSE '{{}}' END AS new_{settings},
        CASE WHEN good_description THEN description END AS new_description,
        coalesce(created_at, updated_at, now()) AS new_created_at"""
_TEMPLATE_CELLS = (
    _Cell(
        "name",
        "CASE WHEN this.good_name THEN 'duplicate_name' ELSE 'bad_name' END",
        "this.doubled OR NOT this.good_name",
    ),
    _Cell("description", "'bad_description'", "NOT this.good_description"),
    _document_cell("steps", "not_steps"),
    _document_cell("default_config", "not_settings"),
    _Cell(
        "is_system",
        "CASE WHEN this.is_system IS NULL THEN 'absent' ELSE 'system' END",
        "this.is_system IS NOT NULL AND this.is_system <> this.new_is_system",
    ),
    _Cell("created_at", "'absent'"),
    _Cell("updated_at", "'absent'"),
)

_NO_CONTACTS = """contact AS (
    SELECT NULL::uuid AS id, NULL::uuid AS campaign_id, NULL::text AS new_status,
        0::numeric AS new_generation_cost, 0::bigint AS new_unknown_costs, 0::bigint AS new_rank,
        false AS misplaced
    WHERE false
),
contact_finding AS (
    SELECT NULL::uuid AS id, NULL::text AS column_name, NULL::text AS kind, NULL::jsonb AS before,
        NULL::jsonb AS after, false AS undecided, NULL::jsonb AS noted
    WHERE false
)"""
