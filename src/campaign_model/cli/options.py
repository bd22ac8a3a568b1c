"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer

GROUP_SETTINGS: dict[str, Any] = {"no_args_is_help": True, "add_completion": False}
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
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Stored = Annotated[
    bool,
    typer.Option(
        "--stored",
        help="Use the stored form (what a database may hold), not the submitted form (what a "
        "caller sends).",
    ),
]
