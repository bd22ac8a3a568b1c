"""The commands ``campaign-model contacts``: import contacts, and list those of a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from campaign_model.cli.options import GROUP_SETTINGS, After, ContactsTable, Json, Tenant, Url
from campaign_model.lifecycle import ContactStatus

contacts_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="Import contacts, and list those of a campaign."
)


@contacts_app.command("list")
def list_contacts(
    id_: Annotated[UUID, typer.Argument(metavar="CAMPAIGN", help="Id of the campaign.")],
    *,
    url: Url,
    tenant: Tenant,
    status: Annotated[
        ContactStatus | None,
        typer.Option(metavar="STATUS", help="List only contacts with this status."),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="Contacts per page.")
    ] = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List the contacts of a campaign in the order of generation, and why they wait or failed.

    Example:  campaign-model contacts list CAMPAIGN --status failed
    """
    from campaign_model.cli.contacts import print_contacts

    print_contacts(url, tenant, id_, status=status, limit=limit, after=after, as_json=as_json)


@contacts_app.command("import")
def import_contacts(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV file of contacts.")],
    *,
    url: Url,
    tenant: Tenant,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COLUMN=FIELD",
            help="Read this column as this field; an empty field ignores the column. Repeat it for "
            "several columns.",
        ),
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Import the other rows if some are wrong.")
    ] = False,
    contacts: ContactsTable = "contacts",
    as_json: Json = False,
) -> int:
    """Import contacts from a CSV file, such as an export of Apollo, HubSpot, lemlist or LinkedIn.

    Fields: first_name, last_name, company, job_title, email_address, linkedin_url, phone.

    A contact that the tenant has already stays as it is: a second import adds none.
    If rows are wrong, they are listed by line and nothing is imported; the exit code is 1.
    The import puts no contact into a campaign: your service does, with store.contacts.assign.

    Example:  campaign-model contacts import people.csv --map Employer=company
    """
    from campaign_model.cli.contacts import import_file

    return import_file(
        url,
        tenant,
        file,
        columns=columns or (),
        skip_invalid=skip_invalid,
        table_name=contacts,
        as_json=as_json,
    )
