"""A web service for campaigns: a JSON API, and the page that uses it.

Each route gives a function to ``run``, which runs it in one transaction of the library. The library
decides what is allowed: the routes check nothing that it checks, and its errors are the answers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import attrs
import sqlalchemy as sa
from fastapi import APIRouter, Body, Depends, FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncEngine

from campaign_model import (
    Action,
    Campaign,
    ContactStatus,
    Permission,
    lifecycle,
    parse_generation_config,
    parse_template_config,
)
from campaign_model import pydantic as models
from campaign_model.fastapi import add_error_handlers
from campaign_model.store import CampaignStore, transact_async
from service.tables import (
    CONTACTS,
    MESSAGES,
    SAMPLE_CONTACTS,
    TENANT,
    count_decisions,
    count_outdated,
    read_contacts,
    save_contacts,
    select_messages,
)

CSV_BODY = {"requestBody": {"content": {"text/csv": {"schema": {"type": "string"}}}}}
Json = dict[str, Any]
Result = TypeVar("Result")
router = APIRouter(prefix="/api")


@attrs.frozen
class Runner:
    """Runs the work of one request, as its user and tenant."""

    engine: AsyncEngine

    async def __call__(self, work: Callable[[CampaignStore], Result]) -> Result:
        return await transact_async(self.engine, TENANT, work, actor="you")


def get_runner(request: Request) -> Runner:
    """Your login belongs here. This service has none: all requests are of one user and tenant."""
    return Runner(request.app.state.engine)


Run = Annotated[Runner, Depends(get_runner)]


class View(BaseModel):
    """What the page shows of a campaign."""

    campaign: models.Campaign
    actions: list[models.ActionState]
    permissions: list[Permission]
    progress: models.Progress
    outdated: int
    review: models.ReviewTally
    history: list[models.HistoryEntry]


# --- Templates and campaigns ----------------------------------------------------------------------


@router.get("/templates")
async def list_templates(run: Run) -> list[models.CampaignTemplate]:
    """List the templates that a campaign can start from."""
    return list(await run(lambda store: store.templates.list()))


@router.get("/campaigns")
async def list_campaigns(run: Run, after: str | None = None) -> models.Page[models.CampaignSummary]:
    """List campaigns, newest first, one page at a time."""
    return await run(lambda store: store.campaigns.list(after=after))


@router.post("/campaigns", status_code=201)
async def add_campaign(
    run: Run, template_id: Annotated[UUID, Body()], name: Annotated[str, Body()]
) -> View:
    """Start a campaign from a template."""

    def work(store: CampaignStore) -> View:
        template = store.templates.get(template_id)
        campaign = store.campaigns.add(Campaign.from_template(template, name))
        return show(store, campaign.id)

    return await run(work)


@router.get("/campaigns/{id}")
async def get_campaign(run: Run, id: UUID) -> View:
    """Show a campaign with all that the page says about it."""
    return await run(lambda store: show(store, id))


@router.put("/campaigns/{id}")
async def save_campaign(
    run: Run,
    id: UUID,
    version: Annotated[int, Body()],
    steps: Annotated[Any, Body()],
    generation_config: Annotated[Any, Body()],
) -> View:
    """Save other steps and settings. ``version`` is that of the campaign which was edited."""

    def work(store: CampaignStore) -> View:
        campaign = store.campaigns.get(id, version=version)
        edited = attrs.evolve(
            campaign,
            steps=parse_template_config(steps, previous=campaign.steps),
            generation_config=parse_generation_config(
                generation_config, previous=campaign.generation_config
            ),
        )
        store.campaigns.save(edited)
        return show(store, id)

    return await run(work)


@router.post("/campaigns/{id}/actions/{action}")
async def apply_action(
    run: Run, id: UUID, action: Action, reason: Annotated[str | None, Body(embed=True)] = None
) -> View:
    """Apply an action, such as ``start_generation``. The workers do the rest."""

    def work(store: CampaignStore) -> View:
        store.campaigns.apply(
            id, action, review=lambda _: count_decisions(store, id), reason=reason
        )
        return show(store, id)

    return await run(work)


def show(store: CampaignStore, id: UUID) -> View:
    """Load what the page shows of a campaign."""
    campaign, tally = store.campaigns.get(id), count_decisions(store, id)
    return View(
        campaign=campaign,
        actions=list(store.campaigns.actions(id, review=tally)),
        permissions=list(lifecycle.permissions(campaign.status)),
        progress=store.generation.progress(id),
        outdated=count_outdated(store, campaign),
        review=tally,
        history=list(store.campaigns.history(id)),
    )


# --- Contacts -------------------------------------------------------------------------------------


@router.post("/campaigns/{id}/contacts", openapi_extra=CSV_BODY)
async def assign_contacts(run: Run, id: UUID, request: Request) -> Json:
    """Save the contacts of a CSV file, the body of the request, and assign them."""
    contacts = read_contacts(await request.body())

    def work(store: CampaignStore) -> Json:
        save_contacts(store.connection, contacts)
        assigned = store.contacts.assign(id, contacts)
        required = store.campaigns.get(id).steps.required_fields()
        gaps = {
            contact_id: [field for field in required if not contact[field]]
            for contact_id, contact in contacts.items()
        }
        store.contacts.set_readiness(id, gaps)
        return {
            "added": assigned.added,
            "already_there": assigned.already_there,
            "not_ready": sum(map(bool, gaps.values())),
        }

    return await run(work)


@router.get("/sample_contacts.csv")
def get_sample_contacts() -> Response:
    """Return a file of contacts to try the page with."""
    return Response(SAMPLE_CONTACTS.read_bytes(), media_type="text/csv")


@router.get("/campaigns/{id}/contacts")
async def list_contacts(
    run: Run, id: UUID, status: ContactStatus | None = None, after: str | None = None
) -> Json:
    """List the contacts of a campaign with their names, one page at a time."""

    def work(store: CampaignStore) -> Json:
        page = store.contacts.list(id, status=status, limit=100, after=after)
        ids = [contact.contact_id for contact in page.items]
        query = sa.select(CONTACTS).where(CONTACTS.c.tenant_id == TENANT, CONTACTS.c.id.in_(ids))
        people = {row["id"]: dict(row) for row in store.connection.execute(query).mappings()}
        items = [people[contact.contact_id] | contact.to_dict() for contact in page.items]
        return {"items": items, "next": page.next}

    return await run(work)


@router.post("/campaigns/{id}/retry")
async def retry_contacts(run: Run, id: UUID) -> Json:
    """Let failed contacts, and those whose steps have changed, wait for messages again."""

    def work(store: CampaignStore) -> Json:
        retried = store.generation.retry_failed(id)
        regenerated = store.generation.regenerate(id, only_stale=True)
        return {"changed": retried.changed + regenerated.changed}

    return await run(work)


# --- Messages -------------------------------------------------------------------------------------


@router.get("/campaigns/{id}/messages")
async def list_messages(run: Run, id: UUID, offset: int = 0, limit: int = 20) -> Json:
    """List the messages to review, contact by contact."""

    def work(store: CampaignStore) -> Json:
        present = store.campaigns.present_messages(id, MESSAGES)
        query = select_messages().where(present).offset(offset).limit(limit + 1)
        rows = [dict(row) for row in store.connection.execute(query).mappings()]
        return {"items": rows[:limit], "next": offset + limit if rows[limit:] else None}

    return await run(work)


@router.post("/campaigns/{id}/review")
async def review_messages(
    run: Run,
    id: UUID,
    decision: Annotated[Literal["approved", "rejected", "draft"], Body()],
    message_ids: Annotated[list[UUID] | None, Body()] = None,
) -> View:
    """Decide on some messages, or on all that are undecided."""
    columns = MESSAGES.c
    chosen = columns.status == "draft" if message_ids is None else columns.id.in_(message_ids)

    def work(store: CampaignStore) -> View:
        # The status cannot change until the decisions are committed.
        campaign = store.campaigns.get(id, lock="share")
        lifecycle.check_permission(Permission.REVIEW_MESSAGES, campaign.status)
        present = store.campaigns.present_messages(id, MESSAGES)
        store.connection.execute(sa.update(MESSAGES).where(present, chosen).values(status=decision))
        return show(store, id)

    return await run(work)


@router.get("/campaigns/{id}/export.csv")
async def export_messages(run: Run, id: UUID) -> Response:
    """Write the approved messages of an approved campaign as a CSV file."""

    def work(store: CampaignStore) -> str:
        store.contacts.exportable(id)  # Refuses a campaign that is not approved.
        present = store.campaigns.present_messages(id, MESSAGES)
        query = select_messages().where(present, MESSAGES.c.status == "approved")
        rows = store.connection.execute(query)
        file = io.StringIO()
        csv.writer(file).writerows([rows.keys(), *rows])
        return file.getvalue()

    headers = {"Content-Disposition": f'attachment; filename="{id}.csv"'}
    return Response(await run(work), media_type="text/csv", headers=headers)


# --- The application ------------------------------------------------------------------------------


def create_app(engine: AsyncEngine) -> FastAPI:
    """Make the application: the API at ``/api``, and the page at ``/``."""
    app = FastAPI(title="Campaigns")
    app.state.engine = engine
    add_error_handlers(app)
    app.include_router(router)
    app.mount("/", StaticFiles(directory=Path(__file__).parent / "static", html=True))
    return app
