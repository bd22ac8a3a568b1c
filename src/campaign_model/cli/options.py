"""Options that several commands share.

The modules of the commands import the library only within the functions that use it: ``--help``
and shell completion load every module of a command, and have to be fast.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer
from typer.core import TyperGroup


class Group(TyperGroup):
    """A group of commands whose help shows the whole first sentence of every command."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands. The formatter wraps the sentences."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, each.get_short_help_str(1000)) for name, each in commands if each]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


GROUP_SETTINGS: dict[str, Any] = {
    "cls": Group,
    "no_args_is_help": True,
    "add_completion": False,
    # Help without Rich takes half the time, and does not cut words on a narrow terminal.
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""Arguments of every ``typer.Typer``."""

Url = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="CAMPAIGN_MODEL_URL",
        help="SQLAlchemy URL of the database, such as postgresql://user@host/name.",
    ),
]
Tenant = Annotated[
    UUID, typer.Option(envvar="CAMPAIGN_MODEL_TENANT", help="Id of the tenant.", metavar="UUID")
]
Actor = Annotated[
    str,
    typer.Option(
        metavar="NAME", envvar="CAMPAIGN_MODEL_ACTOR", help="Who does it, for the history."
    ),
]
CampaignId = Annotated[UUID, typer.Argument(metavar="ID", help="Id of the campaign.")]
After = Annotated[
    str | None,
    typer.Option(metavar="PAGE", help="Page to show, as the page before it printed it."),
]
TenantsTable = Annotated[
    str, typer.Option("--tenants", metavar="TABLE", help="Your table of tenants.")
]
OwnersTable = Annotated[
    str, typer.Option("--owners", metavar="TABLE", help="Your table of owners.")
]
ContactsTable = Annotated[
    str, typer.Option("--contacts", metavar="TABLE", help="Your table of contacts.")
]
MessagesTable = Annotated[
    str, typer.Option("--messages", metavar="TABLE", help="Your table of messages.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Stored = Annotated[
    bool,
    typer.Option(
        "--stored",
        help="Use the stored form (what a database may hold), not the submitted form (what a "
        "caller sends).",
    ),
]
