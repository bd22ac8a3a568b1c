"""What adoption must make of legacy rows: the oracle of the adoption tests.

``expect`` computes it from the rows alone. It shares nothing with the code under test but the
reading of documents.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs

from campaign_model._values import MAX_GAP_NAME, MAX_GAPS
from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME
from campaign_model.errors import InvalidDocument
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.wire import DEFAULT
from support.legacy import Row, Rows
from support.legacy_rows import BAD_GAPS, BAD_SETTINGS, BAD_STEPS, SENT

RUN_TIME_KEYS = ("cancelled", "strategy_snapshot")

Refusal = tuple[str, str, str]
"""Table, row id and column of a value that adoption refuses."""


@attrs.frozen
class Expected:
    """What adoption makes of a database.

    ``rows`` has columns by table and row id. A refused value is replaced by the value that it gets
    with the quarantine. ``message_contacts`` are the contacts that are created from messages, by
    ``campaign/contact``.
    """

    rows: Mapping[str, Mapping[str, Row]]
    refused: frozenset[Refusal]
    message_contacts: Mapping[str, Row]


def expect(
    rows: Rows,
    *,
    status_map: Mapping[str, str] | None = None,
    contacts_from_messages: bool = False,
) -> Expected:
    """Compute what adoption makes of ``rows``."""
    oracle = _Oracle(rows, status_map or {})

    # 1. Contacts, and what they add to their campaign's totals.
    contacts: dict[str, Row] = {}
    message_contacts: dict[str, Row] = {}
    contacts_by_campaign: dict[str, list[Row]] = defaultdict(list)
    for row in rows.get("campaign_contacts", ()):
        contact = oracle.repair_contact(row)
        if oracle.tenant_of[row["contact_id"]] != contact["tenant_id"]:
            oracle.refuse("campaign_contacts", row, "contact_id")
            continue  # The quarantine takes the whole row.
        contacts[row["id"]] = contact
        contacts_by_campaign[row["campaign_id"]].append(contact)
    if contacts_from_messages:
        for (campaign_id, contact_id), contact in _contacts_from_messages(rows).items():
            contacts_by_campaign[campaign_id].append(contact)
            message_contacts[f"{campaign_id}/{contact_id}"] = {
                **contact,
                "exported_at": oracle.time_of_export(campaign_id, {}),
            }

    # 2. Campaigns.
    campaigns = {
        row["id"]: {
            **oracle.repair_campaign(row),
            **_count_totals(contacts_by_campaign[row["id"]]),
        }
        for row in rows["campaigns"]
    }

    # 3. Templates. Of two with the same name, the second is refused.
    templates = {}
    names: set[tuple[str | None, str]] = set()
    for row in rows.get("campaign_templates", ()):
        templates[row["id"]] = oracle.repair_template(row)
        if row["tenant_id"] is not None and (row["tenant_id"], row["name"]) in names:
            oracle.refuse("campaign_templates", row, "name")
        names.add((row["tenant_id"], row["name"]))

    return Expected(
        {
            "campaigns": campaigns,
            "campaign_contacts": contacts,
            "campaign_templates": templates,
        },
        frozenset(oracle.refused),
        message_contacts,
    )


class _Oracle:
    """Repairs one row at a time and collects the refused values."""

    def __init__(self, rows: Rows, status_map: Mapping[str, str]) -> None:
        self.status_map = status_map
        self.refused: set[Refusal] = set()
        self.tenant_of = {
            row["id"]: row["tenant_id"]
            for table in ("owners", "contacts", "campaigns", "campaign_templates")
            for row in rows.get(table, ())
        }
        self.campaigns_with_sent_messages = {
            row.get("campaign_id") for row in rows["messages"] if row.get("status") in SENT
        }
        self.has_status_column = "campaign_templates" in rows
        self.campaigns = {row["id"]: row for row in rows["campaigns"]}

    def refuse(self, table: str, row: Row, column: str) -> None:
        self.refused.add((table, row["id"], column))

    def repair_campaign(self, row: Row) -> Row:
        self._check_name_and_description("campaigns", row)
        owner = row["owner_id"]
        if owner is not None and self.tenant_of[owner] != row["tenant_id"]:
            self.refuse("campaigns", row, "owner_id")
            owner = None
        template = row.get("template_id")
        if template is not None and self.tenant_of[template] not in (None, row["tenant_id"]):
            self.refuse("campaigns", row, "template_id")
            template = None
        settings = self._repair_settings("campaigns", row, "generation_config", default="{}")
        return {
            **self._repair_status(row),
            "owner_id": owner,
            "template_id": template,
            "template_config": self._repair_steps("campaigns", row, "template_config", "[]"),
            "generation_config": {
                name: value for name, value in settings.items() if name not in RUN_TIME_KEYS
            },
        }

    def repair_template(self, row: Row) -> Row:
        self._check_name_and_description("campaign_templates", row)
        if row.get("is_system", False) not in (None, row["tenant_id"] is None):
            self.refuse("campaign_templates", row, "is_system")
        return {
            "steps": self._repair_steps("campaign_templates", row, "steps", None),
            "default_config": self._repair_settings(
                "campaign_templates", row, "default_config", None
            ),
            "is_system": row["tenant_id"] is None,
        }

    def repair_contact(self, row: Row) -> Row:
        tenant = self.tenant_of[row["campaign_id"]]
        if row["tenant_id"] not in (None, tenant):
            self.refuse("campaign_contacts", row, "tenant_id")
        gaps = self._repair_gaps(row)
        word = row.get("status", "pending")
        status = "pending" if word is None else self.status_map.get(word, word)
        if status not in {*ContactStatus}:
            self.refuse("campaign_contacts", row, "status")
            status = "pending"
        if status == ContactStatus.GENERATING:
            # No worker of this library has claimed it.
            waiting = {None: "pending", False: "enrichment_ok", True: "enrichment_needed"}
            status = waiting[None if gaps is None else bool(gaps)]
        cost = Decimal(row.get("generation_cost") or "0")
        is_unknown = row.get("generation_cost") is None
        if cost.is_nan() or cost < 0:
            self.refuse("campaign_contacts", row, "generation_cost")
            cost, is_unknown = Decimal(0), True
        is_finished = status in (ContactStatus.GENERATED, ContactStatus.FAILED)
        return {
            "tenant_id": tenant,
            "status": str(status),
            "enrichment_gaps": gaps,
            "generation_cost": cost,
            "unknown_costs": int(is_unknown and is_finished),
            "exported_at": (
                self.time_of_export(row["campaign_id"], row)
                if status == ContactStatus.GENERATED
                else None
            ),
        }

    def time_of_export(self, campaign_id: str, contact: Row) -> str | None:
        """Return the best known time at which a generated contact was exported, if it was."""
        campaign = self.campaigns[campaign_id]
        if self._repair_status(campaign)["status"] not in ("exported", "archived"):
            return None
        now = datetime.now(UTC).isoformat()  # The default of the columns, too.
        times = (
            campaign.get("updated_at", now),
            contact.get("generated_at"),
            contact.get("added_at", now),
        )
        return next((str(time) for time in times if time is not None), now)

    def _repair_gaps(self, row: Row) -> list[str] | None:
        gaps = json.loads(row.get("enrichment_gaps") or "null")
        try:
            while isinstance(gaps, str):
                gaps = json.loads(gaps)
        except ValueError:
            pass
        if gaps is None or (
            isinstance(gaps, list)
            and len(gaps) <= MAX_GAPS
            and all(isinstance(gap, str) and 0 < len(gap) <= MAX_GAP_NAME for gap in gaps)
        ):
            return gaps
        self.refuse("campaign_contacts", row, "enrichment_gaps")
        return dict(BAD_GAPS.values())[row["enrichment_gaps"]]

    def _repair_status(self, row: Row) -> Row:
        is_active = row.get("is_active", True) is not False
        word = row.get("status", "draft") if self.has_status_column else None
        status = None if word is None else self.status_map.get(word, word)
        if status is not None and status not in {*Status}:
            self.refuse("campaigns", row, "status")
            status = None
        if status is None:
            was_sent = row["id"] in self.campaigns_with_sent_messages
            status = "exported" if was_sent or row["lemlist_campaign_id"] else "draft"
        elif status == Status.GENERATING:
            # No worker of this library generates it, and it must not start by accident.
            status = "ready"
        return {"status": status if is_active else "archived", "is_active": is_active}

    def _check_name_and_description(self, table: str, row: Row) -> None:
        if not row["name"].strip() or len(row["name"]) > MAX_NAME:
            self.refuse(table, row, "name")
        if len(row.get("description") or "") > MAX_DESCRIPTION:
            self.refuse(table, row, "description")

    def _repair_steps(self, table: str, row: Row, column: str, default: str | None) -> Any:
        text = row.get(column, default)
        steps = decode(text)
        if steps is None:
            return []
        try:
            DEFAULT.recover_template_config(text)
        except InvalidDocument:
            self.refuse(table, row, column)
            steps = dict(BAD_STEPS.values())[str(text)]
        return [
            {
                "step": position,
                "label": step["channel"].replace("_", " ").capitalize(),
                "enabled": True,
                "needs_pdf": False,
                "variant_count": 1,
            }
            | step
            for position, step in enumerate(steps, 1)
        ]

    def _repair_settings(self, table: str, row: Row, column: str, default: str | None) -> Any:
        text = row.get(column, default)
        settings = decode(text)
        if settings is None:
            return {}
        try:
            DEFAULT.recover_generation_config(text)
        except InvalidDocument:
            self.refuse(table, row, column)
            return dict(BAD_SETTINGS.values())[str(text)]
        return settings


def decode(text: str | None) -> Any:
    """Decode JSON, and JSON strings inside it. A string that holds no JSON stays as it is."""
    value = None if text is None else json.loads(text)
    while isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            break
    return value


def _contacts_from_messages(rows: Rows) -> dict[tuple[str, str], Row]:
    """Return the contacts that only messages have, by campaign and contact."""
    costs: dict[tuple[str, str], list[str | None]] = defaultdict(list)
    for row in rows["messages"]:
        if row.get("campaign_id") and row.get("contact_id"):
            costs[row["campaign_id"], row["contact_id"]].append(row.get("generation_cost_usd"))
    return {
        key: {
            "status": "generated",
            "generation_cost": sum((Decimal(cost) for cost in several if cost), Decimal(0)),
            "unknown_costs": several.count(None),
        }
        for key, several in costs.items()
    }


def _count_totals(contacts: Iterable[Row]) -> Row:
    counts = Counter(row["status"] for row in contacts)
    return {
        "total_contacts": counts.total() - counts["excluded"],
        "generated_count": counts["generated"],
        "generation_cost": sum((row["generation_cost"] for row in contacts), Decimal(0)),
    }
