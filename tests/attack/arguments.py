"""Draws the arguments of any public method of the store, by the names of its parameters.

``PARAMETERS`` says for each name what its values are. So a new method needs nothing here unless it
has a parameter with a new name; then :func:`draw_arguments` raises ``KeyError``.

Ids are the attacker's own, the victim's, random ones, and ids of another kind of row. The twin of
an argument (:func:`replace_ids`) has an id that no row has in place of each id of the victim.
"""

from __future__ import annotations

import base64
import inspect
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from attack.world import Belongings
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.claims import Claim, Cursor, Failed, Generated, NotReady, Unfinished
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.store.types import Uuid
from campaign_model.testing.sample_campaigns import CENT, LEASE, STEPS
from support.tenants import HOST

MALFORMED: tuple[Any, ...] = (
    *(None, "", "no id", 7, 1.5, True, b"\0", (), [], {}, object()),
    *("00000000-0000-0000-0000-000000000000", "' OR tenant_id IS NOT NULL --", "%", "\0", "\ud800"),
)


@attrs.frozen
class IdQuery:
    """A ``Select`` of ids, which are kept in a form whose ids can be replaced."""

    ids: tuple[UUID, ...]

    def build(self) -> sa.Select[Any]:
        first, *others = (sa.select(sa.literal(id_, Uuid)) for id_ in self.ids)
        return sa.select(first.union_all(*others).subquery())


@attrs.frozen
class Draw:
    """Chooses values. ``random`` is seeded, so that a seed and a number repeat a call."""

    random: random.Random
    own: Belongings
    victim: Belongings

    def id(self, kind: str) -> Any:
        """Choose an id, often one of the victim's rows of this kind."""
        chance = self.random.random()
        if chance < 0.45:
            return self.random.choice(self.victim.ids[kind])
        if chance < 0.70:
            return self.random.choice(self.own.ids[kind])
        if chance < 0.85:  # Of another kind of row: a contact's id in place of a campaign's.
            owner = self.random.choice((self.own, self.victim))
            return self.random.choice(owner.ids[self.random.choice([*owner.ids])])
        if chance < 0.95:
            return UUID(int=self.random.getrandbits(128), version=4)
        return self.random.choice(MALFORMED)

    def ids(self, kind: str = "contacts") -> Any:
        """Choose several ids: the own ones and the victim's mixed."""
        if self.random.random() < 0.03:
            return self.random.choice(MALFORMED)
        return [self.id(kind) for _ in range(self.random.choice((0, 1, 1, 2, 5)))]

    def claim(self) -> Any:
        """Choose a claim; sometimes mix the parts of several."""
        if self.random.random() < 0.02:
            return self.random.choice(MALFORMED)
        owner = self.random.choice((self.own, self.victim))
        claim = self.random.choice(owner.claims + owner.export_claims)
        kinds = {
            "campaign_id": "campaigns",
            "id": "campaign_contacts",
            "contact_id": "contacts",
            "token": "token",
        }
        return self._with_other_ids(claim, kinds, 0.15)

    def claims(self) -> Any:
        """Choose claims, mostly of one campaign, as every method demands."""
        chosen = [self.claim() for _ in range(self.random.choice((0, 1, 1, 2, 4)))]
        claims = [claim for claim in chosen if isinstance(claim, Claim)]
        if len(claims) == len(chosen) and self.random.random() < 0.9:
            chosen = [attrs.evolve(each, campaign_id=claims[0].campaign_id) for each in claims]
        return chosen

    def campaign(self) -> Any:
        """Choose a new campaign, or a stored one with other ids."""
        new = Campaign("New", STEPS)
        campaign = self.random.choice((new, *self.own.campaigns, *self.victim.campaigns))
        kinds = {"id": "campaigns", "owner_id": "owners", "template_id": "campaign_templates"}
        campaign = self._with_other_ids(campaign, kinds, 0.5 if campaign is new else 0.2)
        return attrs.evolve(campaign, name=self.word())

    def _with_other_ids(self, value: Any, kinds: Mapping[str, str], chance: float) -> Any:
        """Replace some of the ids. ``kinds`` maps each field with an id to the kind of row."""
        for field, kind in kinds.items():
            if self.random.random() < chance and type(id_ := self.id(kind)) is UUID:
                value = attrs.evolve(value, **{field: id_})
        return value

    def template(self) -> Any:
        """Choose a new template, often with an id that is taken."""
        id_ = self.id("campaign_templates")
        template = CampaignTemplate(self.word(), STEPS)
        return attrs.evolve(template, id=id_) if type(id_) is UUID else template

    def word(self) -> str:
        """Choose a name; some are those of the victim's rows."""
        names = [campaign.name for campaign in self.victim.campaigns]
        names += [template.name for template in self.victim.templates]
        return self.random.choice(["New", "a", "%", "' OR '1'='1", *names])

    def outcomes(self) -> Any:
        kinds = (Generated(CENT), Failed("code", "text", CENT), NotReady(("phone",)), Unfinished())
        claims = self.claims()
        if not all(isinstance(claim, Claim) for claim in claims):
            return claims
        return {claim: self.random.choice(kinds) for claim in claims}

    def contacts(self) -> Any:
        """Choose the contacts of an assignment: ids, pairs with a priority, or a query."""
        ids = self.ids()
        if not _are_ids(ids):
            return ids
        match self.random.randrange(3):
            case 0 if ids:
                return IdQuery(tuple(ids))
            case 1:
                return [(id_, self.random.choice((0, 5))) for id_ in ids]
        return ids

    def after(self) -> str:
        """Choose a cursor of the attacker, a cursor of the victim, or a malformed one."""
        return self.random.choice((*self.own.cursors, *self.victim.cursors, "1:x"))

    def messages_condition(self, text: str) -> Any:
        return HOST.messages.c.status == text


def _are_ids(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is UUID for value in values)


def _words(words: Any) -> Callable[[Draw], Any]:
    return lambda draw: draw.random.choice([*words])


PARAMETERS: Mapping[str, Callable[[Draw], Any]] = {
    "id": lambda draw: draw.id("campaigns"),
    "campaign_id": lambda draw: draw.id("campaigns"),
    "owner_id": lambda draw: draw.id("owners"),
    "template_id": lambda draw: draw.id("campaign_templates"),
    "call_id": lambda draw: draw.id("token"),
    "contact_ids": Draw.ids,
    "contacts": Draw.contacts,
    "gaps": lambda draw: dict.fromkeys(ids, ("phone",)) if _are_ids(ids := draw.ids()) else ids,
    "claim": Draw.claim,
    "claims": Draw.claims,
    "release": Draw.claims,
    "outcomes": Draw.outcomes,
    "campaign": Draw.campaign,
    "template": Draw.template,
    "after": Draw.after,
    "name": Draw.word,
    "search": Draw.word,
    "reason": Draw.word,
    "error_code": _words(("test_failure", "code", "' OR '1'='1")),
    "action": _words(Action),
    "version": _words((None, 1, 2, 3, 4, 5)),
    "lock": _words((False, True, "share")),
    "status": lambda draw: draw.random.choice(
        (None, [draw.random.choice([*Status])], [draw.random.choice([*ContactStatus])])
    ),
    "deleted": _words((False, True)),
    "limit": _words((1, 2, 5, 100)),
    "lease": _words((LEASE, timedelta(days=1))),
    "reserve": _words((None, CENT)),
    "cursor": _words((None, Cursor(), Cursor(2))),
    "max_attempts": _words((1, 3)),
    "cost": _words((None, CENT, Decimal(2))),
    "on_lost": _words(("raise", "skip", "book")),
    "only_stale": _words((False, True)),
    "skip_active": _words((False, True)),
    "cooldown": _words((None, LEASE)),
    "delete_messages": _words((None, lambda _connection: None)),
    "review": _words((None, ReviewTally(1, 0, 0))),
    "allow_empty": _words((False, True)),
    "allow_partial": _words((False, True)),
    "steps": _words((STEPS, STEPS.move("s1", 2))),
    "messages": _words((HOST.messages,)),
    "is_approved": lambda draw: draw.messages_condition("draft"),
    "is_rejected": lambda draw: draw.messages_condition("rejected"),
}
"""What the values of each parameter are."""

OF_TEMPLATES: Mapping[str, Callable[[Draw], Any]] = {
    "id": lambda draw: draw.id("campaign_templates")
}
"""Parameters that have another meaning in ``store.templates``."""


def draw_arguments(draw: Draw, part: str, method: Callable[..., Any]) -> dict[str, Any]:
    """Draw arguments for a method of a part of the store. Optional ones are often left out."""
    parameters = {**PARAMETERS, **(OF_TEMPLATES if part == "templates" else {})}
    arguments = {}
    for name, parameter in inspect.signature(method).parameters.items():
        make = parameters[name]
        if parameter.default is parameter.empty or draw.random.random() < 0.4:
            arguments[name] = make(draw)
    return arguments


def replace_ids(value: Any, twins: Mapping[UUID, UUID]) -> Any:
    """Return a value in which each id that has a twin is its twin."""
    if isinstance(value, UUID):
        return twins.get(value, value)
    if isinstance(value, str):
        return _replace_in_cursor(value, twins)
    if isinstance(value, list | tuple):
        return type(value)(replace_ids(each, twins) for each in value)
    if type(value) is dict:
        return {replace_ids(name, twins): replace_ids(each, twins) for name, each in value.items()}
    if isinstance(value, Claim | Campaign | CampaignTemplate | IdQuery):
        names = [field.name for field in attrs.fields(type(value)) if field.init]
        ids = {name: getattr(value, name) for name in names if "id" in name or name == "token"}
        return attrs.evolve(value, **replace_ids(ids, twins))
    return value


def _replace_in_cursor(text: str, twins: Mapping[UUID, UUID]) -> str:
    """Replace the id in the cursor of a list: ``rank:id``, or a time and an id in Base64."""
    rank, colon, id_ = text.partition(":")
    try:
        if colon:
            return f"{rank}:{replace_ids(UUID(id_), twins)}"
        moment, id_ = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
    except ValueError:
        return text
    changed = f"{moment} {replace_ids(UUID(id_), twins)}"
    return base64.urlsafe_b64encode(changed.encode()).decode()
