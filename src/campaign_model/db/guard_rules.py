"""What the transition guard refuses: a list of rules, in the SQL of PostgreSQL or SQLite.

Each :class:`Rule` becomes one trigger (:mod:`campaign_model.db.guard`). The condition of a rule is
true for a write that is refused, and false for every write of the store. The statuses come from the
tables of :mod:`campaign_model.lifecycle`.

Some conditions depend on what the transaction has done before. A *note* tells it to the triggers:

* :data:`DELETING`: the library deletes rows of a tenant (:mod:`campaign_model.store.deleting`).
* :data:`MOVED`: the status of a campaign has just changed, so a row of the history may say so. A
  trigger of the guard writes this note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import attrs

from campaign_model import lifecycle
from campaign_model.campaign import Campaign
from campaign_model.db.checks_shared import one_of
from campaign_model.store.deleting import DELETING, NOTES
from campaign_model.store.tables import campaign_totals, metadata

MOVED = "campaign_model.moved"
"""The name of the note that a status has changed; :func:`describe_move` writes its value."""


@attrs.frozen
class Rule:
    """One kind of write that is refused.

    ``event`` is ``INSERT``, ``DELETE``, ``UPDATE`` or ``UPDATE OF`` some columns. ``condition`` is
    SQL over ``OLD`` and ``NEW``. ``sentence`` says what is wrong and what to do instead.
    ``only_if`` is a second condition, which must be true as well. It may read tables, and is
    evaluated only if ``condition`` is true; ``{schema}`` stands before the names of its tables.
    """

    name: str
    table: str
    event: str
    condition: str
    sentence: str
    only_if: str = ""


KEYS: dict[str, tuple[str, ...]] = {
    "campaigns": ("id", "tenant_id"),
    "campaign_contacts": ("id", "tenant_id", "campaign_id", "contact_id"),
    "campaign_erased_claims": ("tenant_id", "campaign_contact_id", "campaign_id"),
    "campaign_totals": ("tenant_id", "campaign_id", "shard"),
    "campaign_templates": ("id", "tenant_id", "is_system"),
}
"""For each table, the columns that identify a row and its tenant; they never change.

No column of the history ever changes, so it needs no entry.
"""


def rules(dialect: str) -> tuple[Rule, ...]:
    """Return every rule, in the SQL of ``dialect``."""
    sql = _POSTGRESQL if dialect == "postgresql" else _SQLITE
    return (
        *_campaign_rules(sql),
        *_contact_rules(sql),
        *_history_rules(sql),
        *_totals_rules(sql),
        *_reference_rules(sql),
        *_template_rules(),
        *_key_rules(sql),
    )


def describe_move(campaign_id: str, version: str, source: str, target: str) -> str:
    """Write the SQL of the value of the note :data:`MOVED`. All arguments are SQL."""
    return " || ':' || ".join(
        (f"CAST({campaign_id} AS text)", f"CAST({version} AS text)", source, target)
    )


@attrs.frozen
class _Sql:
    """What the two engines write in different ways.

    ``differs`` is the operator that is true for two different values, also if one of them is NULL.
    ``lacks_note`` is the condition that the transaction has no note ``{name}`` with ``{value}``.
    ``no_gaps`` is the condition that a contact's list of gaps is empty. ``one_of`` writes the
    condition that an SQL expression is one of several words.
    """

    differs: str
    lacks_note: str
    no_gaps: str
    one_of: Callable[[str, Iterable[str]], str]

    def changes(self, columns: Iterable[str]) -> str:
        """Write the condition that one of the columns changes."""
        return " OR ".join(f"NEW.{name} {self.differs} OLD.{name}" for name in columns)

    def is_none_of(self, value: str, words: Iterable[str]) -> str:
        """Write the condition that ``value`` is NULL or none of the words."""
        return f"({self.one_of(value, words)}) IS NOT TRUE"

    def is_not_deleting(self) -> str:
        """Write the condition that the library is not deleting rows of the row's tenant."""
        return self.lacks_note.format(name=DELETING, value="CAST(OLD.tenant_id AS text)")


def _one_of_array(value: str, words: Iterable[str]) -> str:
    """Do the same as ``one_of``. PostgreSQL reads one array faster than a list of constants."""
    return f"{value} = ANY ('{{{','.join(words)}}}')"


_POSTGRESQL = _Sql(
    differs="IS DISTINCT FROM",
    lacks_note="current_setting('{name}', true) IS DISTINCT FROM {value}",
    no_gaps="NEW.enrichment_gaps = '[]'",
    one_of=_one_of_array,
)
_SQLITE = _Sql(
    differs="IS NOT",
    lacks_note=f"NOT EXISTS (SELECT 1 FROM {NOTES} WHERE note = '{{name}}:' || {{value}})",  # noqa: S608
    no_gaps="json_array_length(NEW.enrichment_gaps) = 0",
    one_of=one_of,
)


def _campaign_rules(sql: _Sql) -> Iterator[Rule]:
    fields = attrs.fields_dict(Campaign)
    first_status, first_version = fields["status"].default, fields["version"].default
    yield Rule(
        "campaigns_insert",
        "campaigns",
        "INSERT",
        f"NEW.status <> '{first_status}' OR NEW.version <> {first_version} OR NOT NEW.is_active",
        "a new campaign is a draft at version 1: add it with store.campaigns.add, then change its "
        "status with store.campaigns.apply",
    )
    # The actions delete and archive both lead to the status archived, but only delete sets
    # is_active to false. The word "deleted" keeps them apart.
    move = "OLD.status || '>' || NEW.status || CASE WHEN NEW.is_active THEN '' ELSE ' deleted' END"
    legal_moves = [
        f"{line.source}>{line.target}{' deleted' if line.deletes else ''}"
        for line in lifecycle.TRANSITIONS
    ]
    is_moved = sql.changes(("status", "is_active"))
    yield Rule(
        "campaigns_status",
        "campaigns",
        "UPDATE OF status, is_active",
        f"({is_moved}) AND {sql.is_none_of(move, legal_moves)}",
        "the lifecycle has no such change of a campaign's status: call store.campaigns.actions, "
        "which says what is allowed now, and store.campaigns.apply",
    )
    yield Rule(
        "campaigns_version",
        "campaigns",
        "UPDATE OF version, status, is_active",
        f"NEW.version < OLD.version OR (NEW.version = OLD.version AND ({is_moved}))",
        "a campaign's version never falls, and grows with every change of its status: call "
        "store.campaigns.save for an edit and store.campaigns.apply for a change of the status",
    )
    yield Rule(
        "campaigns_delete",
        "campaigns",
        "DELETE",
        sql.is_not_deleting(),
        "the row of a campaign is never deleted: apply the action delete to a draft, archive an "
        "exported campaign, or call db.remove_tenant to delete everything of a tenant",
    )


def _contact_rules(sql: _Sql) -> Iterator[Rule]:
    yield Rule(
        "contacts_insert",
        "campaign_contacts",
        "INSERT",
        f"NEW.status <> '{lifecycle.resting_status(None)}'",
        "a new contact of a campaign is pending: add it with store.contacts.assign, then call "
        "store.contacts.set_readiness",
    )
    # A transition without a target sends the contact back to the status that its gaps decide.
    lines = [line for line in lifecycle.CONTACT_TRANSITIONS if line.target is not line.source]
    legal_moves = dict.fromkeys(
        f"{line.source}>{line.target}" for line in lines if line.target is not None
    )
    sent_back_from = dict.fromkeys(line.source for line in lines if line.target is None)
    move = "OLD.status || '>' || NEW.status"
    not_checked, ready, not_ready = (
        lifecycle.resting_status(gaps) for gaps in (None, (), ("a gap",))
    )
    resting_status = (
        f"CASE WHEN NEW.enrichment_gaps IS NULL THEN '{not_checked}' "
        f"WHEN {sql.no_gaps} THEN '{ready}' ELSE '{not_ready}' END"
    )
    yield Rule(
        "contacts_status",
        "campaign_contacts",
        "UPDATE OF status",
        f"({sql.changes(['status'])}) "
        f"AND {sql.is_none_of(move, legal_moves)} "
        f"AND (NEW.status {sql.differs} {resting_status} "
        f"OR {sql.is_none_of('OLD.status', sent_back_from)})",
        "the lifecycle has no such change of a contact's status: call the method of store.contacts "
        "or store.generation that makes it (docs/lifecycle.md)",
    )
    yield Rule(
        "contacts_fall",
        "campaign_contacts",
        "UPDATE OF revision, generation_cost, unknown_costs, claimed_at",
        "NEW.revision < OLD.revision OR NEW.generation_cost < OLD.generation_cost "
        "OR NEW.unknown_costs < OLD.unknown_costs "
        "OR (NEW.claimed_at IS NULL AND OLD.claimed_at IS NOT NULL)",
        "the revision and the costs of a contact never fall, and claimed_at never becomes NULL "
        "again: call store.generation.regenerate for new messages",
    )
    yield Rule(
        "contacts_delete",
        "campaign_contacts",
        "DELETE",
        f"OLD.claimed_at IS NOT NULL AND {sql.is_not_deleting()}",
        "a contact that was claimed keeps its row and its cost: call store.contacts.exclude, or "
        "store.contacts.erase to delete the data of a person and keep the costs",
    )


def _history_rules(sql: _Sql) -> Iterator[Rule]:
    move = describe_move("NEW.campaign_id", "NEW.version", "NEW.source", "NEW.target")
    transition = "NEW.source || '>' || NEW.action || '>' || NEW.target"
    legal_transitions = [f"{one.source}>{one.action}>{one.target}" for one in lifecycle.TRANSITIONS]
    yield Rule(
        "history_insert",
        "campaign_history",
        "INSERT",
        f"{sql.lacks_note.format(name=MOVED, value=move)} "
        f"OR {sql.is_none_of(transition, legal_transitions)}",
        "a row of the history follows a change of its campaign's status in the same transaction: "
        "call store.campaigns.apply, which writes both",
    )
    yield Rule(
        "history_update",
        "campaign_history",
        "UPDATE",
        "1 = 1",
        "the history is not rewritten: apply an action with a reason, which adds a row to it",
    )
    yield Rule(
        "history_delete",
        "campaign_history",
        "DELETE",
        sql.is_not_deleting(),
        "the history is kept as long as its tenant: call db.remove_tenant to delete everything of "
        "a tenant",
    )


def _totals_rules(sql: _Sql) -> Iterator[Rule]:
    sentence = (
        "totals change with the contacts that they count: call the methods of the store, or "
        "campaign-model db doctor --repair to count the contacts again"
    )
    table = campaign_totals
    counts = [
        column.name
        for column in table.c
        if column.name not in {*KEYS[table.name], "unit_reserve", "low_watermark"}
    ]
    # The store empties the other shards into shard 0 before it deletes their rows.
    holds_something = " OR ".join(f"OLD.{name} <> 0" for name in counts)
    yield Rule(
        "totals_delete",
        table.name,
        "DELETE",
        f"({holds_something}) AND {sql.is_not_deleting()}",
        sentence,
    )
    # The contacts can be counted again, but only the totals know the costs of erased contacts. So
    # these costs never fall. In other shards than 0 they may become 0: the store empties them.
    falls = " OR ".join(
        f"(NEW.{name} < OLD.{name} AND (NEW.{name} <> 0 OR NEW.shard = 0))"
        for name in ("erased_cost", "erased_unknown_costs")
    )
    yield Rule(
        "totals_erased", table.name, "UPDATE OF erased_cost, erased_unknown_costs", falls, sentence
    )
    # While a campaign has other shards, a recount may write a negative number into shard 0. So the
    # rule is about campaigns with a single shard.
    yield Rule(
        "totals_negative",
        table.name,
        "UPDATE OF cost, unknown_costs, erased_cost, erased_unknown_costs",
        "NEW.cost + NEW.erased_cost < 0 OR NEW.unknown_costs + NEW.erased_unknown_costs < 0",
        sentence,
        only_if=f"""NOT EXISTS (
        SELECT 1
        FROM {{schema}}{table.name}
        WHERE tenant_id = NEW.tenant_id
          AND campaign_id = NEW.campaign_id
          AND shard <> NEW.shard
    )""",  # noqa: S608 - our own names
    )


def _reference_rules(sql: _Sql) -> Iterator[Rule]:
    """Yield the rules for references that have no foreign key, because their rows may be gone."""

    def is_of_another_tenant(table: str, column: str) -> str:
        """Write the condition that ``column`` names a row of ``table`` of another tenant."""
        return f"""EXISTS (
        SELECT 1 FROM {{schema}}{table} WHERE id = NEW.{column} AND tenant_id <> NEW.tenant_id
    )"""  # noqa: S608 - our own names

    for name, event, condition in (
        ("campaigns_template", "INSERT", "NEW.template_id IS NOT NULL"),
        ("campaigns_new_template", "UPDATE OF template_id", sql.changes(["template_id"])),
    ):
        yield Rule(
            name,
            "campaigns",
            event,
            condition,
            "the template belongs to another tenant: name a template of the campaign's tenant, a "
            "system template, or none",
            only_if=is_of_another_tenant("campaign_templates", "template_id"),
        )
    yield Rule(
        "erased_claims_insert",
        "campaign_erased_claims",
        "INSERT",
        "1 = 1",
        "the contact belongs to another tenant: call store.contacts.erase, which writes this row",
        only_if=is_of_another_tenant("campaign_contacts", "campaign_contact_id"),
    )


def _template_rules() -> Iterator[Rule]:
    yield Rule(
        "templates_version",
        "campaign_templates",
        "UPDATE OF version",
        "NEW.version < OLD.version",
        "a template's version never falls: change it with store.templates",
    )
    yield Rule(
        "templates_delete",
        "campaign_templates",
        "DELETE",
        "OLD.tenant_id IS NULL",
        "a system template belongs to every tenant and is not deleted: remove the guard first, if "
        "no tenant needs the template",
    )


def _key_rules(sql: _Sql) -> Iterator[Rule]:
    for table, columns in KEYS.items():
        assert {*columns} <= {*metadata.tables[table].c.keys()}
        yield Rule(
            f"{table.removeprefix('campaign_')}_keys",
            table,
            f"UPDATE OF {', '.join(columns)}",
            sql.changes(columns),
            "a row keeps its ids, its tenant and its campaign: add a new row with the store, as "
            "store.campaigns.clone does",
        )
