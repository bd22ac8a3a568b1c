"""The commands ``campaign-model templates``, and the report of a sync, which ``db init`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from campaign_model.cli.console import open_console, print_json, print_table
from campaign_model.cli.database import run_as_tenant, run_in_transaction
from campaign_model.cli.options import GROUP_SETTINGS, Json, Tenant, Url

if TYPE_CHECKING:
    from campaign_model import db

templates_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="List and update the templates of campaigns."
)


@templates_app.command("sync")
def sync_templates(*, url: Url, as_json: Json = False) -> None:
    """Update the system templates in a database to those of this version.

    A system template that was edited in the database stays as it is.
    """
    from campaign_model import db

    print_sync_report(run_in_transaction(url, db.sync_presets), as_json=as_json)


def print_sync_report(report: db.SyncReport, *, as_json: bool) -> None:
    """Print what a sync did with each system template."""
    if as_json:
        print_json(report)
    else:
        import attrs

        results = [(name, word) for word, names in attrs.asdict(report).items() for name in names]
        print_table(open_console(), ("system template", "result"), results)


@templates_app.command("list")
def list_templates(*, url: Url, tenant: Tenant, as_json: Json = False) -> None:
    """List the system templates and the tenant's own templates."""
    templates = run_as_tenant(url, tenant, lambda store: store.templates.list())
    if as_json:
        print_json(templates)
        return
    print_table(
        open_console(),
        ("id", "name", "steps", "messages", "owner"),
        [
            (
                template.id,
                template.name,
                len(template.steps.enabled),
                len(template.steps.slots()),
                "system" if template.is_system else "tenant",
            )
            for template in templates
        ],
        wraps="name",
    )
