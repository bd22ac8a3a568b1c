"""Error handlers of FastAPI: the library's errors as HTTP answers.

``add_error_handlers(app)`` adds them. An endpoint then lets every error pass. The body is
``error.to_dict()``, and the status is that of docs/errors.md. Needs the extra ``fastapi``.
"""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from campaign_model.errors import CampaignModelError
from campaign_model.store.database_errors import DATABASE_ERRORS, Remedy, remedy_for

__all__ = ["add_error_handlers"]

RETRY_AFTER = "1"
"""Seconds after which a client should try again if the database cannot work."""

_logger = logging.getLogger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    """Answer the library's errors, and errors of the database, with their HTTP status.

    A database that cannot work at the moment, or that refused a transaction because of a conflict,
    gives 503 with the header ``Retry-After``. Any other error of the database stays an exception,
    which FastAPI answers with 500.
    """
    for cls in (CampaignModelError, *DATABASE_ERRORS):
        app.add_exception_handler(cls, _answer)


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    if remedy_for(error) is not Remedy.GIVE_UP:
        _logger.warning("answered 503 because of an error of the database", exc_info=error)
        message = "the database cannot work at the moment; try again later"
        answer = {"code": "database_unavailable", "message": message}
        return JSONResponse(answer, 503, {"Retry-After": RETRY_AFTER})
    if isinstance(error, CampaignModelError):
        return JSONResponse(error.to_dict(), error.http_status)
    raise error
