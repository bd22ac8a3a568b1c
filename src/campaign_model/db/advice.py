"""What adoption leaves as it is, though it will be felt: sentences for the operator."""

from __future__ import annotations

from collections.abc import Iterator

from campaign_model.db.catalog import Catalog, Table
from campaign_model.db.schema import options
from campaign_model.steps import MAX_VARIANTS
from campaign_model.store.tables import metadata
from campaign_model.vocabulary import STANDARD

__all__ = ["advice"]

_ALLOWED = {
    "variant": tuple("abc"[:MAX_VARIANTS]),
    "channel": tuple(channel.name for channel in STANDARD.channels),
}
"""What may come to stand in columns of the host's messages."""

_OFTEN_CHANGED = {
    "campaigns": {
        *("status", "version", "updated_at", "total_contacts", "generated_count"),
        *("generation_cost", "generation_started_at", "generation_completed_at"),
        *("finished_before_start", "next_position", "clone_count"),
    },
    "campaign_contacts": {
        *("status", "attempts", "claim_token", "claimed_at", "lease_expires_at", "retry_at"),
        *("reported_tokens", "generation_cost", "unknown_costs", "reserved", "generated_at"),
        *("error_code", "error", "enrichment_gaps", "steps_fingerprint", "revision"),
    },
    "campaign_totals": {column.name for column in metadata.tables["campaign_totals"].c}
    - {"tenant_id", "campaign_id", "shard"},
}


def advice(present: Catalog, messages: str, *, adopting: bool) -> Iterator[str]:
    """Everything worth knowing about the tables in ``present``, which may yet be adopted."""
    if messages in present:
        yield from _narrow_enums(messages, present[messages])
    for name in sorted(metadata.tables.keys() & present.keys()):
        table = present[name]
        yield from _demanding_columns(name, table)
        for trigger in table.triggers if adopting else ():
            yield (
                f"the trigger {trigger} on {name} is not told of rows that are put right, so that "
                "updated_at stays as it was; writers wait for each batch of them"
            )
        for option in table.options:
            if option.startswith("fillfactor=") and option not in options(metadata.tables[name]):
                yield f"{name} has {option}; it counts for pages written from now on only"
        yield from _indexes(name, table)


def _narrow_enums(messages: str, table: Table) -> Iterator[str]:
    for name, allowed in _ALLOWED.items():
        column = table.columns.get(name)
        missing = [one for one in allowed if column and one not in column.labels]
        if column and column.labels and missing:
            more = "; ".join(f"ALTER TYPE {column.type} ADD VALUE '{one}'" for one in missing)
            yield f"{messages}.{name} has no room for {', '.join(missing)}: {more}"


def _demanding_columns(name: str, table: Table) -> Iterator[str]:
    ours = metadata.tables[name].c
    for column, found in table.columns.items():
        unknown = column not in ours
        if found.not_null and found.default is None and (unknown or ours[column].nullable):
            yield (
                f"{name}.{column} must not be NULL and has no default: this library cannot insert "
                "rows"
            )


def _indexes(name: str, table: Table) -> Iterator[str]:
    ours = {str(index.name) for index in metadata.tables[name].indexes}
    for index, found in table.indexes.items():
        changed = sorted(found.touches & _OFTEN_CHANGED.get(name, set()))
        if changed and index not in ours:
            yield (
                f"the index {index} on {name} has to follow every change of {', '.join(changed)} "
                "(no HOT updates): drop it unless a query needs it"
            )
