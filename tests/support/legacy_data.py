"""What real life left in legacy databases, and what adoption has to make of it.

``databases`` draws rows that can be repaired, and ``broken`` rows of which some can't.
``expected`` says what comes out, from the rows alone: it shares nothing with the code under test
but the reading of documents.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import attrs
from hypothesis import strategies as st

from campaign_model import presets
from campaign_model.campaign import MAX_DESCRIPTION, MAX_NAME
from campaign_model.errors import InvalidDocument
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.wire import DEFAULT
from support.legacy import Row, Rows, Shape

RUN_TIME_KEYS = ("cancelled", "strategy_snapshot")
SENT = ("sent", "delivered", "replied")

Refusal = tuple[str, str, str]
"""Table, row id and column of what adoption refuses."""


@attrs.frozen
class Expected:
    """What adoption makes of a database: columns by table and row id, and the refusals.

    A column that is refused is given the value that it has once the old one is in quarantine.
    """

    rows: Mapping[str, Mapping[str, Row]]
    refused: frozenset[Refusal]
    written: Mapping[str, Row]
    """Contacts out of messages of a bare database, by ``campaign/contact``."""


def uid(kind: str, number: int) -> str:
    """An id that tells what it is of."""
    return f"{KINDS.index(kind) + 1:08x}-0000-4000-8000-{number:012x}"


KINDS = (
    *("tenants", "owners", "batches", "contacts", "strategies", "linkedin_accounts"),
    *("campaign_templates", "campaigns", "campaign_contacts", "messages", "contact_events"),
)

TENANTS = 2
OWNERS = 2
CONTACTS = 4
"""Of each there are that many: per tenant, for all but the tenants."""


def encoded(value: Any, layers: int = 0) -> str:
    """``value`` as JSON text, wrapped that many times into a JSON string."""
    text = json.dumps(value)
    for _ in range(layers):
        text = json.dumps(text)
    return text


STEPS: tuple[dict[str, Any], ...] = (
    {"channel": "linkedin"},
    {"step": 1, "channel": "email"},
    {"step": 7, "channel": "email", "label": "Out of order", "enabled": False},
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
"""Steps that were written by somebody, each of which may stand anywhere."""

SETTINGS: tuple[dict[str, Any], ...] = (
    {"tone": "casual"},
    {"language": "pt-BR", "custom_instructions": "Write in “quotes”.\n"},
    {"default_variant_count": 2, "budget": "12.50"},
    {"model": "m-1", "retries": {"max": 3}, "note": None},
    {"cancelled": True},
    {"cancelled": False},
    {"strategy_snapshot": {"name": "Old", "steps": [1, {"two": "2"}]}},
)
"""Members of generation_config: each draw is some of them, merged."""

GAPS: tuple[str | None, ...] = (
    None,
    "[]",
    '["email"]',
    encoded(["email", "Größe"]),
    encoded(["email"], 1),
    encoded([], 2),
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
MOMENTS = (None, "2024-02-29 23:59:59.123456+00", "2025-07-01 12:00:00+05:45")


def _campaign(draw: st.DrawFn, shape: Shape, number: int) -> dict[str, Any]:
    tenant = draw(st.integers(1, TENANTS))
    owner = draw(st.none() | st.integers(1, OWNERS))
    row = {
        "id": uid("campaigns", number),
        "tenant_id": uid("tenants", tenant),
        "owner_id": None if owner is None else owner_of(tenant, owner),
        "name": draw(st.sampled_from(NAMES)),
        "lemlist_campaign_id": draw(st.sampled_from([None, "", "cam_1"])),
        "channel": draw(st.sampled_from([None, "linkedin", "email", "multi"])),
        shape.batch_id: draw(st.sampled_from([None, uid("batches", tenant)])),
        "airtable_record_id": draw(st.sampled_from([None, "recA1b2C3d4E5f6G7"])),
    }
    row |= _maybe(draw, is_active=[True, False, None], created_at=MOMENTS, updated_at=MOMENTS)
    if shape.extended:
        layers = st.integers(0, 3)
        steps = st.builds(encoded, st.lists(st.sampled_from(STEPS), max_size=3), layers)
        row |= _maybe(
            draw,
            status=[None, *map(str, Status)],
            description=[None, "", "d" * 100],
            template_config=st.sampled_from([None, "null"]) | steps,
            generation_config=st.sampled_from([None, "null"])
            | st.builds(encoded, settings, layers),
            total_contacts=[None, 0, 3, -1],
            generated_count=[None, 0, 3],
            generation_cost=[*COSTS, "-1.0000", "NaN"],
            generation_started_at=MOMENTS,
            generation_completed_at=MOMENTS,
        )
    if shape.service:
        row |= _maybe(
            draw,
            strategy_id=[None, uid("strategies", tenant)],
            target_criteria=[None, encoded({"a": [1.10, None]}), encoded("text", 1)],
            sender_config=[None, "{}", "[]"],
            contact_cooldown_days=[None, 0, 90],
            language=[None, "de"],
            scheduled_launch_at=MOMENTS,
            linkedin_account_id=[None, uid("linkedin_accounts", tenant)],
        )
    return row


settings = st.lists(st.sampled_from(SETTINGS), max_size=4).map(
    lambda several: {name: value for one in several for name, value in one.items()}
)


def _maybe(draw: st.DrawFn, **values: Any) -> dict[str, Any]:
    """Some of the columns, each with one of its values; the others get their defaults."""
    chosen = {}
    for name, possible in values.items():
        if draw(st.booleans()):
            found = (
                possible if isinstance(possible, st.SearchStrategy) else st.sampled_from(possible)
            )
            chosen[name] = draw(found)
    return chosen


def owner_of(tenant: int, number: int) -> str:
    """One of a tenant's owners."""
    return uid("owners", tenant * 100 + number)


def contact_of(tenant: int, number: int) -> str:
    """One of a tenant's contacts."""
    return uid("contacts", tenant * 100 + number)


def _tenant_number(row: Row) -> int:
    return int(row["tenant_id"][-12:], 16)


def host(shape: Shape) -> dict[str, tuple[Row, ...]]:
    """The rows that others refer to: tenants, owners, contacts; and the templates."""
    tenants = range(1, TENANTS + 1)

    def of_tenant(kind: str, **values: Any) -> tuple[Row, ...]:
        return tuple(
            {"id": uid(kind, tenant), "tenant_id": uid("tenants", tenant), **values}
            for tenant in tenants
        )

    def name(number: int) -> Row:
        if shape.full_name:
            return {"full_name": f"Contact {number}"}
        return {"first_name": "Contact", "last_name": str(number)}

    rows: dict[str, tuple[Row, ...]] = {
        "tenants": tuple(
            {
                "id": uid("tenants", one),
                "name": f"Tenant {one}",
                "slug": f"t{one}",
                "settings": "[1.10]",
            }
            for one in tenants
        ),
        "owners": tuple(
            {"id": owner_of(one, number), "tenant_id": uid("tenants", one), "name": "Owner"}
            for one in tenants
            for number in range(1, OWNERS + 1)
        ),
        shape.batches: of_tenant("batches", name="Batch"),
        "contacts": tuple(
            {
                "id": contact_of(one, number),
                "tenant_id": uid("tenants", one),
                "owner_id": owner_of(one, 1),
                shape.batch_id: uid("batches", one),
                "email_address": f"c{number}@example.com",
                **name(number),
            }
            for one in tenants
            for number in range(1, CONTACTS + 1)
        ),
    }
    if shape.service:
        rows["strategies"] = of_tenant("strategies", name="Strategy")
        rows["linkedin_accounts"] = of_tenant("linkedin_accounts", handle="@us")
    if shape.extended:
        rows["campaign_templates"] = _templates()
    return rows


def _templates() -> tuple[Row, ...]:
    """The presets under their known ids (the second edited by hand), and tenants' own."""
    rows: list[Row] = []
    for preset in presets.load():
        steps = DEFAULT.dump_template_config(preset.steps)
        rows.append(
            {
                "id": str(preset.id),
                "tenant_id": None,
                "name": preset.name,
                "description": preset.description,
                "steps": encoded(steps),
                "default_config": encoded(DEFAULT.dump_generation_config(preset.generation_config)),
                "is_system": True,
            }
        )
    rows[1] = {**rows[1], "steps": encoded([{"channel": "email", "label": "By hand"}])}
    # As databases have it that are older than keys and days.
    rows[2] = {**rows[2], "steps": encoded([{"step": 1, "channel": "linkedin_connect"}], 1)}
    own = {"tenant_id": uid("tenants", 1), "name": "Own", "is_system": None}
    return (
        *rows,
        {**own, "id": uid("campaign_templates", 1), "steps": None, "default_config": None},
        {
            **own,
            "id": uid("campaign_templates", 2),
            "tenant_id": uid("tenants", 2),
            "steps": encoded(STEPS[:3], 2),
            "default_config": encoded({"tone": "casual"}, 1),
            "created_at": None,
        },
    )


@st.composite
def databases(draw: st.DrawFn, shape: Shape) -> Rows:
    """Rows to stand beside those of :func:`host`; adoption can keep or repair all of them."""
    rows: dict[str, tuple[Row, ...]] = {}
    rows["campaigns"] = tuple(
        _campaign(draw, shape, number) for number in range(1, draw(st.integers(0, 12)) + 1)
    )
    junction: list[Row] = []
    messages: list[Row] = []
    for campaign in rows["campaigns"]:
        tenant = _tenant_number(campaign)
        chosen = draw(st.sets(st.integers(1, CONTACTS), max_size=3)) if shape.extended else ()
        for contact in sorted(chosen):
            junction.append(
                {
                    "id": uid("campaign_contacts", len(junction) + 1),
                    "campaign_id": campaign["id"],
                    "contact_id": contact_of(tenant, contact),
                    "tenant_id": draw(st.sampled_from([campaign["tenant_id"], None])),
                    **_maybe(
                        draw,
                        status=[None, *map(str, ContactStatus)],
                        enrichment_gaps=GAPS,
                        generation_cost=COSTS,
                        error=[None, "Boom \N{COLLISION SYMBOL}"],
                        added_at=MOMENTS,
                        generated_at=MOMENTS,
                    ),
                }
            )
        for _ in range(draw(st.integers(0, 3))):
            contact = draw(st.integers(1, CONTACTS))
            messages.append(
                {
                    "id": uid("messages", len(messages) + 1),
                    "tenant_id": campaign["tenant_id"],
                    "contact_id": draw(st.sampled_from([None, contact_of(tenant, contact)])),
                    "campaign_id": campaign["id"],
                    "body": "Hello",
                    **_maybe(
                        draw,
                        channel=[None, "linkedin_connect", "email", "call_script"],
                        variant=[None, "a", "b"],
                        status=[None, "draft", "approved", "rejected", *SENT],
                        generation_cost_usd=[None, "0.0144", "0.0001"],
                        sequence_step=[None, 1, 32767],
                    ),
                }
            )
    if shape.extended:
        rows["campaign_contacts"] = tuple(junction)
        ids = [None, *(row["id"] for row in junction)]
        messages = [{**row, "campaign_contact_id": draw(st.sampled_from(ids))} for row in messages]
        if shape.service:
            rows["contact_events"] = tuple(
                {"id": uid("contact_events", number), "campaign_contact_id": row["id"], "kind": "x"}
                for number, row in enumerate(junction, 1)
            )
    rows["messages"] = tuple(messages)
    if shape.service:
        rows["campaign_stats"] = tuple(
            {"campaign_id": row["id"], "opens": 3, "rate": 0.1, "raw": "[1.10]"}
            for row in rows["campaigns"]
        )
    return rows


def sample(shape: Shape) -> Rows:
    """One database that holds every kind of value that :func:`databases` draws, in few rows."""
    rows = host(shape)
    cells: dict[str, list[Any]] = {
        "is_active": [True, True, None, True, False, True, True],
        "lemlist_campaign_id": [None, "", "cam_1", None, None],
        "created_at": list(MOMENTS),
        "updated_at": list(MOMENTS),
    }
    if shape.extended:
        cells |= {
            "status": [None, None, None, *map(str, Status), None],
            "template_config": [
                None,
                "null",
                "[]",
                *(encoded(STEPS, layers) for layers in range(4)),
            ],
            "generation_config": [
                None,
                "null",
                *(encoded(one, layer % 3) for layer, one in enumerate(SETTINGS)),
            ],
            "total_contacts": [None, 0, 3, 2],
            "generated_count": [None, 0, 1],
            "generation_cost": [*COSTS, "-1.0000"],
        }
    number = max(len(values) for values in cells.values())
    rows["campaigns"] = tuple(
        {
            "id": uid("campaigns", index + 1),
            "tenant_id": uid("tenants", index % TENANTS + 1),
            "owner_id": owner_of(index % TENANTS + 1, 1) if index % 3 else None,
            "name": NAMES[index % len(NAMES)],
            shape.batch_id: uid("batches", index % TENANTS + 1),
            **{name: values[index % len(values)] for name, values in cells.items()},
        }
        for index in range(number)
    )
    if shape.extended:
        words = [*map(str, ContactStatus), None]
        rows["campaign_contacts"] = tuple(
            {
                "id": uid("campaign_contacts", index + 1),
                "campaign_id": campaign["id"],
                "contact_id": contact_of(_tenant_number(campaign), index % CONTACTS + 1),
                "tenant_id": campaign["tenant_id"] if index % 5 else None,
                "status": words[index % len(words)],
                "enrichment_gaps": GAPS[index % len(GAPS)],
                "generation_cost": COSTS[index % len(COSTS)],
                "added_at": MOMENTS[index % len(MOMENTS)],
            }
            for index, campaign in enumerate([*rows["campaigns"], *rows["campaigns"]])
        )
    statuses = [None, "draft", "approved", "sent", "replied"]
    rows["messages"] = tuple(
        {
            "id": uid("messages", index + 1),
            "tenant_id": campaign["tenant_id"],
            "contact_id": contact_of(_tenant_number(campaign), index % CONTACTS + 1),
            "campaign_id": campaign["id"],
            "body": "Hello",
            "status": statuses[index % len(statuses)],
            "generation_cost_usd": "0.0144" if index % 2 else None,
        }
        for index, campaign in enumerate(rows["campaigns"][::2])
    )
    return rows


# What nobody can repair without deciding something.

BAD_STEPS: dict[str, str] = {
    "an object": "{}",
    "a number": "5",
    "an empty string": '""',
    "a string that is no JSON": '"not json"',
    "an object in a string": encoded({"channel": "email"}, 1),
    "a string of NaN": json.dumps('[{"channel": "email", "x": NaN}]'),
    "a member twice, in a string": json.dumps('[{"channel": "email", "channel": "call_script"}]'),
    "NUL in a string": encoded([{"channel": "email", "label": "a\0b"}], 1),
    "half a surrogate pair in a string": json.dumps('[{"channel": "email", "label": "\\ud83d"}]'),
    "a string nested too deep": json.dumps("[" * 100 + "]" * 100),
    "a number that no double holds": '[{"channel": "email", "x": 12345678901234567891}]',
    "numbers": "[1]",
    "an array in the array": encoded([[{"channel": "email"}]]),
    "no channel": encoded([{"label": "Intro"}]),
    "a channel that is no name": encoded([{"channel": "E mail"}]),
    "a number in a string": encoded([{"channel": "email", "variant_count": "2"}]),
    "too many variants": encoded([{"channel": "email", "variant_count": 4}]),
    "an empty label": encoded([{"channel": "email", "label": ""}]),
    "too many steps": encoded([{"channel": "email"}] * 21),
    "a key twice": encoded([{"channel": "email", "key": "a"}, {"channel": "email", "key": "a"}], 1),
    "days that go back": encoded(
        [{"channel": "email", "day_offset": 5}, {"channel": "email", "day_offset": 4}]
    ),
}
BAD_SETTINGS: dict[str, str] = {
    "an array": "[]",
    "a number": "5",
    "a string that is no JSON": '"cancelled"',
    "an array in a string": encoded([], 1),
    "a tone that is no text": encoded({"tone": 5}),
    "a budget that is a number": encoded({"budget": 12.5}, 1),
    "a language that is none": encoded({"language": "English!"}),
    "too many variants": encoded({"default_variant_count": 9, "cancelled": True}),
}
BAD_GAPS: dict[str, str] = {
    "an object": "{}",
    "text": '"email"',
    "numbers": "[1]",
    "an object in a string": encoded({"missing": ["email"]}, 1),
}


@attrs.frozen
class Fault:
    """Something wrong in one row: by which name, where, and how it is put there."""

    name: str
    table: str
    column: str
    change: Callable[[Row], Row]


def _other_tenant(row: Row) -> int:
    return TENANTS + 1 - _tenant_number(row)


def _constantly(values: Row) -> Callable[[Row], Row]:
    return lambda _row: values


def faults(shape: Shape) -> list[Fault]:
    """Everything that can be wrong with a row of ``shape``."""

    def put(table: str, column: str, values: Mapping[str, Any]) -> Iterable[Fault]:
        for name, value in values.items():
            yield Fault(name, table, column, _constantly({column: value}))

    names = {
        "no name": "",
        "blanks for a name": " \t\N{EM SPACE}",
        "a name that is too long": "n" * 501,
    }
    words = {"an unknown word": "in_progress", "another case": "Draft", "no word": ""}
    amounts = {"less than nothing": "-0.0001", "no number": "NaN"}
    description = {"a description that is too long": "d" * 10_001}
    system = Fault(
        "a tenant's, and the system's",
        "campaign_templates",
        "is_system",
        _constantly({"is_system": True}),
    )
    nobodys = Fault("nobody's", "campaign_templates", "is_system", _constantly({"tenant_id": None}))
    twice = Fault("a name twice", "campaign_templates", "name", _constantly({"name": "Own"}))
    found = [
        *put("campaigns", "name", names),
        Fault(
            "another tenant's owner",
            "campaigns",
            "owner_id",
            lambda row: {"owner_id": owner_of(_other_tenant(row), 1)},
        ),
    ]
    if not shape.extended:
        return found
    return [
        *found,
        *put("campaigns", "description", description),
        *put("campaigns", "template_config", BAD_STEPS),
        *put("campaigns", "generation_config", BAD_SETTINGS),
        *put("campaigns", "status", words),
        *put("campaign_templates", "name", names),
        *put("campaign_templates", "description", description),
        *put("campaign_templates", "steps", BAD_STEPS),
        *put("campaign_templates", "default_config", BAD_SETTINGS),
        system,
        nobodys,
        twice,
        *put("campaign_contacts", "enrichment_gaps", BAD_GAPS),
        *put("campaign_contacts", "status", words),
        *put("campaign_contacts", "generation_cost", amounts),
        Fault(
            "another tenant's row",
            "campaign_contacts",
            "tenant_id",
            lambda row: {"tenant_id": uid("tenants", _other_tenant(row))},
        ),
        Fault(
            "another tenant's contact",
            "campaign_contacts",
            "contact_id",
            lambda row: {"contact_id": contact_of(_other_tenant(row), CONTACTS)},
        ),
    ]


def broken(shape: Shape, some: Iterable[Fault]) -> Rows:
    """The rows of :func:`sample`, and beside them one for each of ``some`` faults."""
    rows = dict(sample(shape))
    campaigns, junction = [*rows["campaigns"]], [*rows.get("campaign_contacts", ())]
    templates = [*rows.get("campaign_templates", ())]
    several = {
        "campaigns": campaigns,
        "campaign_contacts": junction,
        "campaign_templates": templates,
    }
    for number, fault in enumerate(some, 1000):
        tenant = number % TENANTS + 1
        common = {"id": uid(fault.table, number), "tenant_id": uid("tenants", tenant)}
        row: dict[str, Any] = {
            "campaigns": {"name": fault.name, "owner_id": None, "lemlist_campaign_id": None},
            "campaign_contacts": {
                "campaign_id": campaigns[tenant - 1]["id"],
                "contact_id": contact_of(tenant, 1),
            },
            "campaign_templates": {"name": f"{fault.column}: {fault.name}"},
        }[fault.table]
        row = common | row
        if fault.table == "campaign_contacts":
            # A campaign to itself, for a contact stands in a campaign once.
            own = {**common, "id": uid("campaigns", number + 1000), "name": fault.name}
            campaigns.append({**own, "owner_id": None, "lemlist_campaign_id": None})
            row["campaign_id"] = own["id"]
        several[fault.table].append({**row, **fault.change(row)})
    rows |= {name: tuple(listed) for name, listed in several.items() if listed}
    if shape.extended:
        tenant_of = {row["id"]: row["tenant_id"] for row in campaigns}
        rows["messages"] += tuple(
            {
                "id": uid("messages", number),
                "tenant_id": tenant_of[row["campaign_id"]],
                "campaign_id": row["campaign_id"],
                "campaign_contact_id": row["id"],
                "body": "Hello",
            }
            for number, row in enumerate(junction, 1000)
        )
    return rows


# What comes out.


def expected(
    rows: Rows,
    *,
    status_map: Mapping[str, str] | None = None,
    contacts_from_messages: bool = False,
) -> Expected:
    """What adoption makes of ``rows``, by the rules of the issue."""
    words = status_map or {}
    refused: set[Refusal] = set()
    tenant_of = {
        row["id"]: row["tenant_id"]
        for table in ("owners", "contacts", "campaigns")
        for row in rows.get(table, ())
    }

    def document(kind: str, table: str, row: Row, column: str, empty: Any) -> Any:
        text = row.get(column, json.dumps(empty) if table == "campaigns" else None)
        try:
            return _document(kind, text, empty)
        except InvalidDocument:
            refused.add((table, row["id"], column))
            return empty

    sent = {row.get("campaign_id") for row in rows["messages"] if row.get("status") in SENT}
    contacts: dict[str, Row] = {}
    of_campaign: dict[str, list[Row]] = defaultdict(list)
    written: dict[str, Row] = {}
    for row in rows.get("campaign_contacts", ()):
        out = _contact(row, tenant_of, words, refused)
        if tenant_of[row["contact_id"]] != out["tenant_id"]:
            refused.add(("campaign_contacts", row["id"], "contact_id"))
            continue  # The whole row goes.
        contacts[row["id"]] = out
        of_campaign[row["campaign_id"]].append(out)
    if contacts_from_messages:
        for (campaign_id, contact_id), out in _from_messages(rows).items():
            of_campaign[campaign_id].append(out)
            written[f"{campaign_id}/{contact_id}"] = out
    campaigns: dict[str, Row] = {}
    for row in rows["campaigns"]:
        _check_words("campaigns", row, refused)
        owner = row["owner_id"]
        if owner is not None and tenant_of[owner] != row["tenant_id"]:
            refused.add(("campaigns", row["id"], "owner_id"))
            owner = None
        config = document("generation_config", "campaigns", row, "generation_config", {})
        campaigns[row["id"]] = {
            **_status(row, row["id"] in sent, words, refused, rows),
            "owner_id": owner,
            "template_config": document("template_config", "campaigns", row, "template_config", []),
            "generation_config": {
                name: value for name, value in (config or {}).items() if name not in RUN_TIME_KEYS
            },
            **_totals(of_campaign[row["id"]]),
        }
    names: set[tuple[str | None, str]] = set()
    for row in rows.get("campaign_templates", ()):
        _check_words("campaign_templates", row, refused)
        if row.get("is_system", False) not in (None, row["tenant_id"] is None):
            refused.add(("campaign_templates", row["id"], "is_system"))
        if row["tenant_id"] is not None and (row["tenant_id"], row["name"]) in names:
            refused.add(("campaign_templates", row["id"], "name"))
        names.add((row["tenant_id"], row["name"]))
    templates = {
        row["id"]: {
            "steps": document("template_config", "campaign_templates", row, "steps", []),
            "default_config": document(
                "generation_config", "campaign_templates", row, "default_config", {}
            ),
            "is_system": row["tenant_id"] is None,
        }
        for row in rows.get("campaign_templates", ())
    }
    return Expected(
        {
            "campaigns": campaigns,
            "campaign_contacts": contacts,
            "campaign_templates": templates,
        },
        frozenset(refused),
        written,
    )


def _check_words(table: str, row: Row, refused: set[Refusal]) -> None:
    if not row["name"].strip() or len(row["name"]) > MAX_NAME:
        refused.add((table, row["id"], "name"))
    if len(row.get("description") or "") > MAX_DESCRIPTION:
        refused.add((table, row["id"], "description"))


def _document(kind: str, text: str | None, empty: Any) -> Any:
    value = None if text is None else json.loads(text)
    layers = value
    while isinstance(layers, str):
        try:
            layers = json.loads(layers)
        except ValueError:
            break
    if layers is None:
        return empty
    if kind == "generation_config":
        DEFAULT.recover_generation_config(text)
        return layers
    DEFAULT.recover_template_config(text)
    return [
        {
            "step": position,
            "label": step["channel"].replace("_", " ").capitalize(),
            "enabled": True,
            "needs_pdf": False,
            "variant_count": 1,
        }
        | step
        for position, step in enumerate(layers, 1)
    ]


def _status(
    row: Row,
    sent: bool,  # noqa: FBT001
    words: Mapping[str, str],
    refused: set[Refusal],
    rows: Rows,
) -> Row:
    has_column = "campaign_templates" in rows
    active = row.get("is_active", True) is not False
    word = row.get("status", "draft") if has_column else None
    status = words.get(word, word) if word is not None else None
    if status is not None and status not in {*Status}:
        refused.add(("campaigns", row["id"], "status"))
        status = None
    if status is None:
        status = "exported" if sent or row["lemlist_campaign_id"] else "draft"
    elif status == Status.GENERATING:
        # No worker of this library is at it, and nobody starts it again by accident.
        status = "ready"
    return {"status": status if active else "archived", "is_active": active}


def _contact(
    row: Row, tenant_of: Mapping[str, str], words: Mapping[str, str], refused: set[Refusal]
) -> Row:
    def refuse(column: str) -> None:
        refused.add(("campaign_contacts", row["id"], column))

    tenant = tenant_of[row["campaign_id"]]
    if row["tenant_id"] not in (None, tenant):
        refuse("tenant_id")
    gaps = json.loads(row.get("enrichment_gaps") or "null")
    try:
        while isinstance(gaps, str):
            gaps = json.loads(gaps)
    except ValueError:
        refuse("enrichment_gaps")
    if gaps is not None and not (
        isinstance(gaps, list) and all(isinstance(one, str) and one for one in gaps)
    ):
        refuse("enrichment_gaps")
        gaps = None
    word = row.get("status", "pending")
    status = "pending" if word is None else words.get(word, word)
    cost = Decimal(row.get("generation_cost") or "0")
    unknown = row.get("generation_cost") is None
    if cost.is_nan() or cost < 0:
        refuse("generation_cost")
        cost, unknown = Decimal(0), True
    if status not in {*ContactStatus}:
        refuse("status")
        status = "pending"
    if status == ContactStatus.GENERATING:
        status = {None: "pending", False: "enrichment_ok", True: "enrichment_needed"}[
            None if gaps is None else bool(gaps)
        ]
    ended = status in (ContactStatus.GENERATED, ContactStatus.FAILED)
    return {
        "tenant_id": tenant,
        "status": str(status),
        "enrichment_gaps": gaps,
        "generation_cost": cost,
        "unknown_costs": int(unknown and ended),
    }


def _from_messages(rows: Rows) -> dict[tuple[str, str], Row]:
    """The contacts of campaigns that only messages know, by campaign and contact."""
    costs: dict[tuple[str, str], list[str | None]] = defaultdict(list)
    for row in rows["messages"]:
        if row.get("campaign_id") and row.get("contact_id"):
            costs[row["campaign_id"], row["contact_id"]].append(row.get("generation_cost_usd"))
    return {
        key: {
            "status": "generated",
            "generation_cost": sum((Decimal(one) for one in found if one), Decimal(0)),
            "unknown_costs": found.count(None),
        }
        for key, found in costs.items()
    }


def _totals(contacts: Iterable[Row]) -> Row:
    counts = Counter(row["status"] for row in contacts)
    return {
        "total_contacts": counts.total() - counts["excluded"],
        "generated_count": counts["generated"],
        "generation_cost": sum((row["generation_cost"] for row in contacts), Decimal(0)),
    }
