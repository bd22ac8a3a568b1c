"""Rows of legacy databases: valid ones, ones that adoption repairs, and faulty ones.

``draw_rows`` draws rows that can be repaired. ``sample_rows`` has every kind of value in few rows.
``rows_with_faults`` adds a row for each of some faults, which ``list_faults`` lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from hypothesis import strategies as st

from campaign_model import presets
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.wire import DEFAULT
from support.legacy import Row, Rows, Shape

SENT = ("sent", "delivered", "replied")
"""The statuses of messages that a contact has got."""

TABLES = (
    *("tenants", "owners", "batches", "contacts", "strategies", "linkedin_accounts"),
    *("campaign_templates", "campaigns", "campaign_contacts", "messages", "contact_events"),
)

TENANTS = 2
OWNERS = 2
"""Owners of each tenant."""
CONTACTS = 4
"""Contacts of each tenant."""


def make_id(table: str, number: int) -> str:
    """Make an id that shows the table and the number of its row."""
    return f"{TABLES.index(table) + 1:08x}-0000-4000-8000-{number:012x}"


def owner_id(tenant: int, number: int) -> str:
    """Return the id of one of a tenant's owners."""
    return make_id("owners", tenant * 100 + number)


def contact_id(tenant: int, number: int) -> str:
    """Return the id of one of a tenant's contacts."""
    return make_id("contacts", tenant * 100 + number)


def _tenant_number(row: Row) -> int:
    return int(row["tenant_id"][-12:], 16)


def encode(value: Any, layers: int = 0) -> str:
    """Write ``value`` as JSON text, and encode it again as a JSON string ``layers`` times."""
    text = json.dumps(value)
    for _ in range(layers):
        text = json.dumps(text)
    return text


STEPS: tuple[dict[str, Any], ...] = (
    {"channel": "linkedin"},
    {"step": 1, "channel": "email"},
    {"step": 7, "channel": "email", "label": "Out of order", "enabled": False},
    {"step": None, "channel": "email", "label": None, "key": None, "config": None},
    {"step": "", "channel": "email", "label": "", "key": "", "config": "", "day_offset": ""},
    {"channel": "email", "label": "A label in several sentences. " * 10},
    {
        "step": 2,
        "channel": "linkedin_message",
        "label": "Grüße \N{PARTY POPPER}",
        "template_subject": "Hello {{first_name}}",
        "asset_ids": ["6d1e", 2, None],
        "personalization_vars": {"company": {"max": 1.10, "half": 0.5}},
    },
    {"channel": "call_script", "needs_pdf": True, "variant_count": 3, "config": {"tone": "x"}},
    {"channel": "carrier_pigeon", "label": "x" * 200, "notes": "y" * 5000, "empty": {}, "no": []},
)
"""Steps as people have written them. Each may be at any position."""

SETTINGS: tuple[dict[str, Any], ...] = (
    {"tone": "casual"},
    {"language": "pt-BR", "custom_instructions": "Write in “quotes”.\n"},
    {"default_variant_count": 2, "budget": "12.50"},
    {"tone": None, "budget": None},
    {"tone": "", "language": "", "budget": ""},
    {"tone": "Friendly, but not too friendly, and without any exclamation marks."},
    {"tone": "Friendly. " * 30},
    {"model": "m-1", "retries": {"max": 3}, "note": None},
    {"cancelled": True},
    {"cancelled": False},
    {"strategy_snapshot": {"name": "Old", "steps": [1, {"two": "2"}]}},
)
"""Parts of ``generation_config``. A draw merges some of them."""

GAPS: tuple[str | None, ...] = (
    None,
    "[]",
    '["email"]',
    encode(["email", "Größe"]),
    encode(["email"], 1),
    encode([], 2),
    "null",
)

NAMES = (
    "Q3 outreach",
    "Q3 outreach",
    " padded ",
    "Δ \N{PARTY POPPER} 'quoted' \"%s\" {0}",
    "n" * 500,
)
COSTS = (None, "0", "0.0144", "1.2000", "12.3456", "999999.9999")
TIMES = (None, "2024-02-29 23:59:59.123456+00", "2025-07-01 12:00:00+05:45")


# Rows that other rows refer to.


def host_rows(shape: Shape) -> dict[str, tuple[Row, ...]]:
    """Return the rows that other rows refer to (tenants, owners, contacts), and the templates."""
    tenants = range(1, TENANTS + 1)

    def one_per_tenant(table: str, **values: Any) -> tuple[Row, ...]:
        return tuple(
            {"id": make_id(table, tenant), "tenant_id": make_id("tenants", tenant), **values}
            for tenant in tenants
        )

    def contact_name(number: int) -> Row:
        if shape.full_name:
            return {"full_name": f"Contact {number}"}
        return {"first_name": "Contact", "last_name": str(number)}

    rows: dict[str, tuple[Row, ...]] = {
        "tenants": tuple(
            {
                "id": make_id("tenants", tenant),
                "name": f"Tenant {tenant}",
                "slug": f"t{tenant}",
                "settings": "[1.10]",
            }
            for tenant in tenants
        ),
        "owners": tuple(
            {
                "id": owner_id(tenant, number),
                "tenant_id": make_id("tenants", tenant),
                "name": "Owner",
            }
            for tenant in tenants
            for number in range(1, OWNERS + 1)
        ),
        shape.batches: one_per_tenant("batches", name="Batch"),
        "contacts": tuple(
            {
                "id": contact_id(tenant, number),
                "tenant_id": make_id("tenants", tenant),
                "owner_id": owner_id(tenant, 1),
                shape.batch_id: make_id("batches", tenant),
                "email_address": f"c{number}@example.com",
                **contact_name(number),
            }
            for tenant in tenants
            for number in range(1, CONTACTS + 1)
        ),
    }
    if shape.service:
        rows["strategies"] = one_per_tenant("strategies", name="Strategy")
        rows["linkedin_accounts"] = one_per_tenant("linkedin_accounts", handle="@us")
    if shape.extended:
        rows["campaign_templates"] = _template_rows()
    return rows


def _template_rows() -> tuple[Row, ...]:
    """Return the presets under their ids (the second edited by hand) and two tenants' own."""
    rows: list[Row] = []
    for preset in presets.load():
        steps = DEFAULT.dump_template_config(preset.steps)
        rows.append(
            {
                "id": str(preset.id),
                "tenant_id": None,
                "name": preset.name,
                "description": preset.description,
                "steps": encode(steps),
                "default_config": encode(DEFAULT.dump_generation_config(preset.generation_config)),
                "is_system": True,
            }
        )
    rows[1] = {**rows[1], "steps": encode([{"channel": "email", "label": "By hand"}])}
    # The form of databases that are older than step keys and day offsets.
    rows[2] = {**rows[2], "steps": encode([{"step": 1, "channel": "linkedin_connect"}], 1)}
    own = {"tenant_id": make_id("tenants", 1), "name": "Own", "is_system": None}
    return (
        *rows,
        {**own, "id": make_id("campaign_templates", 1), "steps": None, "default_config": None},
        {
            **own,
            "id": make_id("campaign_templates", 2),
            "tenant_id": make_id("tenants", 2),
            "steps": encode(STEPS[:3], 2),
            "default_config": encode({"tone": "casual"}, 1),
            "created_at": None,
        },
    )


# Drawn rows.


@st.composite
def draw_rows(draw: st.DrawFn, shape: Shape) -> Rows:
    """Draw rows to add to those of :func:`host_rows`. Adoption can keep or repair all of them."""
    campaigns = [
        _draw_campaign(draw, shape, number) for number in range(1, draw(st.integers(0, 12)) + 1)
    ]
    contacts: list[Row] = []
    messages: list[Row] = []
    for campaign in campaigns:
        numbers = draw(st.sets(st.integers(1, CONTACTS), max_size=3)) if shape.extended else ()
        for number in sorted(numbers):
            contacts.append(_draw_contact(draw, campaign, number, len(contacts) + 1))
        for _ in range(draw(st.integers(0, 3))):
            messages.append(_draw_message(draw, campaign, len(messages) + 1))
    rows: dict[str, tuple[Row, ...]] = {"campaigns": tuple(campaigns)}
    if shape.extended:
        rows["campaign_contacts"] = tuple(contacts)
        any_contact_id = st.sampled_from([None, *(row["id"] for row in contacts)])
        messages = [{**row, "campaign_contact_id": draw(any_contact_id)} for row in messages]
        if shape.service:
            rows["contact_events"] = tuple(
                {
                    "id": make_id("contact_events", number),
                    "campaign_contact_id": row["id"],
                    "kind": "x",
                }
                for number, row in enumerate(contacts, 1)
            )
    rows["messages"] = tuple(messages)
    if shape.service:
        rows["campaign_stats"] = tuple(
            {"campaign_id": row["id"], "opens": 3, "rate": 0.1, "raw": "[1.10]"}
            for row in campaigns
        )
    return rows


def _draw_campaign(draw: st.DrawFn, shape: Shape, number: int) -> Row:
    tenant = draw(st.integers(1, TENANTS))
    owner = draw(st.none() | st.integers(1, OWNERS))
    row = {
        "id": make_id("campaigns", number),
        "tenant_id": make_id("tenants", tenant),
        "owner_id": None if owner is None else owner_id(tenant, owner),
        "name": draw(st.sampled_from(NAMES)),
        "lemlist_campaign_id": draw(st.sampled_from([None, "", "cam_1"])),
        "channel": draw(st.sampled_from([None, "linkedin", "email", "multi"])),
        shape.batch_id: draw(st.sampled_from([None, make_id("batches", tenant)])),
        "airtable_record_id": draw(st.sampled_from([None, "recA1b2C3d4E5f6G7"])),
    }
    row |= _draw_some(draw, is_active=[True, False, None], created_at=TIMES, updated_at=TIMES)
    if shape.extended:
        layers = st.integers(0, 3)
        merged_settings = st.lists(st.sampled_from(SETTINGS), max_size=4).map(
            lambda parts: {name: value for part in parts for name, value in part.items()}
        )
        steps = st.builds(encode, st.lists(st.sampled_from(STEPS), max_size=3), layers)
        row |= _draw_some(
            draw,
            status=[None, *map(str, Status)],
            description=[None, "", "d" * 100],
            template_config=st.sampled_from([None, "null"]) | steps,
            generation_config=st.sampled_from([None, "null"])
            | st.builds(encode, merged_settings, layers),
            total_contacts=[None, 0, 3, -1],
            generated_count=[None, 0, 3],
            generation_cost=[*COSTS, "-1.0000", "NaN"],
            generation_started_at=TIMES,
            generation_completed_at=TIMES,
        )
    if shape.service:
        row |= _draw_some(
            draw,
            strategy_id=[None, make_id("strategies", tenant)],
            target_criteria=[None, encode({"a": [1.10, None]}), encode("text", 1)],
            sender_config=[None, "{}", "[]"],
            contact_cooldown_days=[None, 0, 90],
            language=[None, "de"],
            scheduled_launch_at=TIMES,
            linkedin_account_id=[None, make_id("linkedin_accounts", tenant)],
        )
    return row


def _draw_contact(draw: st.DrawFn, campaign: Row, contact_number: int, number: int) -> Row:
    return {
        "id": make_id("campaign_contacts", number),
        "campaign_id": campaign["id"],
        "contact_id": contact_id(_tenant_number(campaign), contact_number),
        "tenant_id": draw(st.sampled_from([campaign["tenant_id"], None])),
        **_draw_some(
            draw,
            status=[None, *map(str, ContactStatus)],
            enrichment_gaps=GAPS,
            generation_cost=COSTS,
            error=[None, "Boom \N{COLLISION SYMBOL}"],
            added_at=TIMES,
            generated_at=TIMES,
        ),
    }


def _draw_message(draw: st.DrawFn, campaign: Row, number: int) -> Row:
    receiver = contact_id(_tenant_number(campaign), draw(st.integers(1, CONTACTS)))
    return {
        "id": make_id("messages", number),
        "tenant_id": campaign["tenant_id"],
        "contact_id": draw(st.sampled_from([None, receiver])),
        "campaign_id": campaign["id"],
        "body": "Hello",
        **_draw_some(
            draw,
            channel=[None, "linkedin_connect", "email", "call_script"],
            variant=[None, "a", "b"],
            status=[None, "draft", "approved", "rejected", *SENT],
            generation_cost_usd=[None, "0.0144", "0.0001"],
            sequence_step=[None, 1, 32767],
        ),
    }


def _draw_some(draw: st.DrawFn, **values: Any) -> dict[str, Any]:
    """Draw some of the columns, and a value for each. The other columns get their defaults."""
    drawn = {}
    for name, possible in values.items():
        if draw(st.booleans()):
            is_strategy = isinstance(possible, st.SearchStrategy)
            drawn[name] = draw(possible if is_strategy else st.sampled_from(possible))
    return drawn


# Fixed rows.


def sample_rows(shape: Shape) -> Rows:
    """Return few rows with every kind of value that :func:`draw_rows` draws."""
    rows = host_rows(shape)
    # Each column cycles through its values.
    cycles: dict[str, list[Any]] = {
        "is_active": [True, True, None, True, False, True, True],
        "lemlist_campaign_id": [None, "", "cam_1", None, None],
        "created_at": list(TIMES),
        "updated_at": list(TIMES),
    }
    if shape.extended:
        cycles |= {
            "status": [None, None, None, *map(str, Status), None],
            "template_config": [
                None,
                "null",
                "[]",
                *(encode(STEPS, layers) for layers in range(4)),
            ],
            "generation_config": [
                None,
                "null",
                *(encode(one, layer % 3) for layer, one in enumerate(SETTINGS)),
            ],
            "total_contacts": [None, 0, 3, 2],
            "generated_count": [None, 0, 1],
            "generation_cost": [*COSTS, "-1.0000"],
        }
    number = max(len(values) for values in cycles.values())
    rows["campaigns"] = tuple(
        {
            "id": make_id("campaigns", index + 1),
            "tenant_id": make_id("tenants", index % TENANTS + 1),
            "owner_id": owner_id(index % TENANTS + 1, 1) if index % 3 else None,
            "name": NAMES[index % len(NAMES)],
            shape.batch_id: make_id("batches", index % TENANTS + 1),
            **{name: values[index % len(values)] for name, values in cycles.items()},
        }
        for index in range(number)
    )
    if shape.extended:
        contact_statuses = [*map(str, ContactStatus), None]
        rows["campaign_contacts"] = tuple(
            {
                "id": make_id("campaign_contacts", index + 1),
                "campaign_id": campaign["id"],
                "contact_id": contact_id(_tenant_number(campaign), index % CONTACTS + 1),
                "tenant_id": campaign["tenant_id"] if index % 5 else None,
                "status": contact_statuses[index % len(contact_statuses)],
                "enrichment_gaps": GAPS[index % len(GAPS)],
                "generation_cost": COSTS[index % len(COSTS)],
                "added_at": TIMES[index % len(TIMES)],
            }
            for index, campaign in enumerate([*rows["campaigns"], *rows["campaigns"]])
        )
    message_statuses = [None, "draft", "approved", "sent", "replied"]
    rows["messages"] = tuple(
        {
            "id": make_id("messages", index + 1),
            "tenant_id": campaign["tenant_id"],
            "contact_id": contact_id(_tenant_number(campaign), index % CONTACTS + 1),
            "campaign_id": campaign["id"],
            "body": "Hello",
            "status": message_statuses[index % len(message_statuses)],
            "generation_cost_usd": "0.0144" if index % 2 else None,
        }
        for index, campaign in enumerate(rows["campaigns"][::2])
    )
    return rows


# Values that need a decision. The keys say what is wrong. With each value comes what the quarantine
# leaves of it.

_GOOD: dict[str, Any] = {"channel": "linkedin", "label": "Good", "note": {"n": 1.10}}

BAD_STEPS: dict[str, tuple[str, list[Any]]] = {
    "an object": ("{}", []),
    "a number": ("5", []),
    "an empty string": ('""', []),
    "a string that is no JSON": ('"not json"', []),
    "an object in a string": (encode({"channel": "email"}, 1), []),
    "a string of NaN": (json.dumps('[{"channel": "email", "x": NaN}]'), []),
    "a member twice, in a string": (
        json.dumps('[{"channel": "email", "channel": "call_script"}]'),
        [],
    ),
    "NUL in a string": (encode([{"channel": "email", "label": "a\0b"}], 1), []),
    "half a surrogate pair in a string": (
        json.dumps('[{"channel": "email", "label": "\\ud83d"}]'),
        [],
    ),
    "a string nested too deep": (json.dumps("[" * 100 + "]" * 100), []),
    "a number that no double holds": (
        '[{"channel": "email", "x": 12345678901234567891, "y": 1}]',
        [{"channel": "email", "y": 1}],
    ),
    "a deep number that no double holds": (
        '[{"channel": "email", "config": {"x": [1, 12345678901234567891, 2]}}]',
        [{"channel": "email", "config": {"x": [1, 2]}}],
    ),
    "numbers": (encode([1, _GOOD, 2]), [_GOOD]),
    "an array in the array": (encode([[{"channel": "email"}]]), []),
    "no channel": (encode([{"label": "Intro"}, _GOOD], 1), [_GOOD]),
    "a channel that is no name": (encode([_GOOD, {"channel": "E mail"}]), [_GOOD]),
    "a number in a string": (
        encode([{"channel": "email", "variant_count": "2"}, _GOOD]),
        [{"channel": "email"}, _GOOD],
    ),
    "too many variants": (
        encode([_GOOD, {"channel": "email", "variant_count": 4, "enabled": False}], 2),
        [_GOOD, {"channel": "email", "enabled": False}],
    ),
    "several bad members": (
        encode([{"channel": "email", "key": 5, "enabled": "no", "step": 0}, {"channel": 5}, _GOOD]),
        [{"channel": "email"}, _GOOD],
    ),
    "too many steps": (encode([{"channel": "email"}] * 22), [{"channel": "email"}] * 20),
    "a key twice": (
        encode([{"channel": "email", "key": "a"}, {"channel": "email", "key": "a"}], 1),
        [{"channel": "email", "key": "a"}, {"channel": "email"}],
    ),
    "a key that is that of a position": (
        encode([{"channel": "email", "key": "s2"}, {"channel": "email", "key": "s2"}]),
        [{"channel": "email", "key": "s2"}],
    ),
    "days that go back": (
        encode([{"channel": "email", "day_offset": 5}, {"channel": "email", "day_offset": 4}]),
        [{"channel": "email", "day_offset": 5}, {"channel": "email"}],
    ),
}
BAD_SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "an array": ("[]", {}),
    "a number": ("5", {}),
    "a string that is no JSON": ('"cancelled"', {}),
    "an array in a string": (encode([], 1), {}),
    "a tone that is no text": (
        encode({"tone": 5, "custom_instructions": "Be brief."}),
        {"custom_instructions": "Be brief."},
    ),
    "a budget that is a number": (encode({"budget": 12.5, "tone": "x"}, 1), {"tone": "x"}),
    "a language that is none": (encode({"language": "English!"}), {}),
    "too many variants": (
        encode({"default_variant_count": 9, "cancelled": True, "a/b~c": 1}),
        {"cancelled": True, "a/b~c": 1},
    ),
    "an unknown member with a number that no double holds": (
        '{"a/b~c": 12345678901234567891, "tone": "x"}',
        {"tone": "x"},
    ),
}
BAD_GAPS: dict[str, tuple[str, list[str] | None]] = {
    "an object": ("{}", None),
    "text": ('"email"', None),
    "numbers": ("[1]", None),
    "numbers among names": ('[1, "email", null, "phone"]', ["email", "phone"]),
    "an object in a string": (encode({"missing": ["email"]}, 1), None),
    "a name that is too long": (encode(["x" * 201, "email"]), ["email"]),
    "too many names": (encode(["x"] * 1001), None),
}


@attrs.frozen
class Fault:
    """A fault of one row: its name, its place, and the values that put it into a row."""

    name: str
    table: str
    column: str
    change: Callable[[Row], Row]


def _other_tenant(row: Row) -> int:
    return TENANTS + 1 - _tenant_number(row)


def _set_values(values: Row) -> Callable[[Row], Row]:
    return lambda _row: values


def list_faults(shape: Shape) -> list[Fault]:
    """List everything that can be wrong with a row of ``shape``."""

    def in_column(table: str, column: str, values: Mapping[str, Any]) -> Iterable[Fault]:
        for name, value in values.items():
            text = value[0] if isinstance(value, tuple) else value
            yield Fault(name, table, column, _set_values({column: text}))

    names = {
        "no name": "",
        "a blank name": " \t\N{EM SPACE}",
        "a name that is too long": "n" * 501,
    }
    statuses = {"an unknown word": "in_progress", "another case": "Draft", "an empty word": ""}
    amounts = {"a negative amount": "-0.0001", "not a number": "NaN"}
    descriptions = {"a description that is too long": "d" * 10_001}
    faults = [
        *in_column("campaigns", "name", names),
        Fault(
            "another tenant's owner",
            "campaigns",
            "owner_id",
            lambda row: {"owner_id": owner_id(_other_tenant(row), 1)},
        ),
    ]
    if not shape.extended:
        return faults
    if shape.service:
        faults.append(
            Fault(
                "another tenant's template",
                "campaigns",
                "template_id",
                lambda row: {"template_id": make_id("campaign_templates", _other_tenant(row))},
            )
        )
    return [
        *faults,
        *in_column("campaigns", "description", descriptions),
        *in_column("campaigns", "template_config", BAD_STEPS),
        *in_column("campaigns", "generation_config", BAD_SETTINGS),
        *in_column("campaigns", "status", statuses),
        *in_column("campaign_templates", "name", names),
        *in_column("campaign_templates", "description", descriptions),
        *in_column("campaign_templates", "steps", BAD_STEPS),
        *in_column("campaign_templates", "default_config", BAD_SETTINGS),
        Fault(
            "a template of a tenant and of the system",
            "campaign_templates",
            "is_system",
            _set_values({"is_system": True}),
        ),
        Fault(
            "a system template that is not marked as one",
            "campaign_templates",
            "is_system",
            _set_values({"tenant_id": None}),
        ),
        Fault(
            "a name that is used twice",
            "campaign_templates",
            "name",
            _set_values({"name": "Own"}),
        ),
        *in_column("campaign_contacts", "enrichment_gaps", BAD_GAPS),
        *in_column("campaign_contacts", "status", statuses),
        *in_column("campaign_contacts", "generation_cost", amounts),
        Fault(
            "another tenant's row",
            "campaign_contacts",
            "tenant_id",
            lambda row: {"tenant_id": make_id("tenants", _other_tenant(row))},
        ),
        Fault(
            "another tenant's contact",
            "campaign_contacts",
            "contact_id",
            lambda row: {"contact_id": contact_id(_other_tenant(row), CONTACTS)},
        ),
    ]


def rows_with_faults(shape: Shape, faults: Iterable[Fault]) -> Rows:
    """Return the rows of :func:`sample_rows` and one more row for each fault."""
    rows = dict(sample_rows(shape))
    campaigns, contacts = [*rows["campaigns"]], [*rows.get("campaign_contacts", ())]
    rows_by_table = {
        "campaigns": campaigns,
        "campaign_contacts": contacts,
        "campaign_templates": [*rows.get("campaign_templates", ())],
    }
    for number, fault in enumerate(faults, 1000):
        tenant = number % TENANTS + 1
        common = {"id": make_id(fault.table, number), "tenant_id": make_id("tenants", tenant)}
        row: dict[str, Any] = {
            "campaigns": {"name": fault.name, "owner_id": None, "lemlist_campaign_id": None},
            "campaign_contacts": {
                "campaign_id": campaigns[tenant - 1]["id"],
                "contact_id": contact_id(tenant, 1),
            },
            "campaign_templates": {"name": f"{fault.column}: {fault.name}"},
        }[fault.table]
        row = common | row
        if fault.table == "campaign_contacts":
            # It needs a campaign of its own: a campaign has a contact only once.
            campaign = {**common, "id": make_id("campaigns", number + 1000), "name": fault.name}
            campaigns.append({**campaign, "owner_id": None, "lemlist_campaign_id": None})
            row["campaign_id"] = campaign["id"]
        rows_by_table[fault.table].append({**row, **fault.change(row)})
    rows |= {table: tuple(listed) for table, listed in rows_by_table.items() if listed}
    if shape.extended:
        tenant_of = {row["id"]: row["tenant_id"] for row in campaigns}
        rows["messages"] += tuple(
            {
                "id": make_id("messages", number),
                "tenant_id": tenant_of[row["campaign_id"]],
                "campaign_id": row["campaign_id"],
                "campaign_contact_id": row["id"],
                "body": "Hello",
            }
            for number, row in enumerate(contacts, 1000)
        )
    return rows
