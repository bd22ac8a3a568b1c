"""The service of docs/fastapi.md, called over HTTP, and its OpenAPI document."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from campaign_model import (
    Campaign,
    CampaignModelError,
    Conflict,
    InvalidArgument,
    InvalidDocument,
    JsonObject,
    LeaseLost,
    NotFound,
    Step,
    StepSequence,
    TransactionAborted,
    TransitionNotAllowed,
    db,
    parse_template_config,
)
from campaign_model.answers import ERRORS
from campaign_model.fastapi import add_error_handlers
from campaign_model.store import transact
from support.paths import DOCS
from support.sample_answers import SAMPLES
from support.sample_documents import a_step

PAGE = (DOCS / "fastapi.md").read_text(encoding="utf-8")
TENANT = UUID(int=1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The names of the page's ``service.py``, with a database that has one tenant."""
    folder = tmp_path_factory.mktemp("service")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    source = "\n\n".join(blocks).replace("sqlite:///", f"sqlite:///{folder}/")
    names: dict[str, Any] = {"__name__": "service"}
    exec(compile(source, "service.py", "exec", dont_inherit=True), names)  # noqa: S102 - our own documentation
    host = db.MinimalHost(db.HostTables())
    with names["engine"].begin() as connection:
        connection.execute(sa.insert(host.tenants).values(id=TENANT, name="Acme"))
    yield names
    names["engine"].dispose()


@pytest.fixture
def client(service: dict[str, Any]) -> TestClient:
    return TestClient(service["app"], headers={"X-Tenant": str(TENANT)})


def new_campaign(client: TestClient, **fields: Any) -> dict[str, Any]:
    body = {"name": "Spring", "steps": [a_step()], **fields}
    response = client.post("/campaigns", json=body)
    assert response.status_code == 201, response.text
    campaign: dict[str, Any] = response.json()
    return campaign


def test_a_campaign_is_added_listed_shown_and_moved(client: TestClient) -> None:
    campaign = new_campaign(client, generation_config={"budget": "25.00", "x_own": {"a": 1}})
    assert campaign["generation_config"] == {"budget": "25.00", "x_own": {"a": 1}}
    path = f"/campaigns/{campaign['id']}"
    assert client.get(path).json() == campaign
    page = client.get("/campaigns").json()
    assert campaign["id"] in [summary["id"] for summary in page["items"]]
    progress = client.get(f"{path}/progress").json()
    assert (progress["spent"], progress["budget"], progress["total"]) == ("0", "25", 0)
    buttons = {one["action"]: one for one in client.get(f"{path}/actions").json()}
    assert buttons["delete"]["allowed"]
    unmet = buttons["mark_ready"]["error"]["unmet"]
    assert [one["guard"] for one in unmet] == ["has_contacts"]
    refused = client.post(f"{path}/actions/mark_ready")
    assert (refused.status_code, refused.json()) == (409, buttons["mark_ready"]["error"])
    assert client.post(f"{path}/actions/delete").json()["status"] == "archived"


def test_a_refused_document_is_explained_at_its_place(client: TestClient) -> None:
    steps = [a_step(channel="fax"), a_step(2, variant_count="2")]
    with pytest.raises(InvalidDocument) as caught:
        parse_template_config(steps)
    response = client.post("/campaigns", json={"name": "Spring", "steps": steps})
    assert response.status_code == 422
    assert response.json() == {
        "detail": [
            {"type": code, "loc": ["body", "steps", *place], "msg": message, "input": value}
            for place, code, value, message in (
                ([0, "channel"], "unknown_value", "fax", caught.value.violations[0].message),
                ([1, "variant_count"], "wrong_type", "2", caught.value.violations[1].message),
            )
        ]
    }
    blank = client.post("/campaigns", json={"name": " ", "steps": [a_step()]})
    assert blank.status_code == 422
    assert blank.json()["violations"][0]["path"] == "/name"


def test_edited_steps_may_keep_what_another_program_wrote(
    client: TestClient, service: dict[str, Any]
) -> None:
    theirs = Step("email", "Hello", key="a", extra=JsonObject({"crm": 7}))
    engine = service["engine"]
    campaign = Campaign("Theirs", StepSequence([theirs]))
    transact(engine, TENANT, lambda store: store.campaigns.add(campaign))
    path = f"/campaigns/{campaign.id}/steps"
    steps = client.get(f"/campaigns/{campaign.id}").json()["steps"]
    edited = [{**steps[0], "label": "Hi"}, a_step(2)]
    saved = client.put(path, params={"version": 1}, json=edited)
    assert saved.status_code == 200
    assert [step["label"] for step in saved.json()["steps"]] == ["Hi", "Email 2"]
    assert saved.json()["steps"][0]["crm"] == 7
    stale = client.put(path, params={"version": 1}, json=edited)
    assert (stale.status_code, stale.json()["reason"]) == (409, "stale_version")
    refused = client.put(path, params={"version": 2}, json=[{**edited[0], "crm": 8}])
    assert refused.status_code == 422
    assert refused.json()["violations"][0]["path"] == "/0/crm"


def test_a_codec_of_ones_own_reads_the_body(client: TestClient) -> None:
    steps = [a_step(channel="sms")]
    response = client.post("/steps/check", json=steps)
    assert (response.status_code, response.json()) == (200, steps)
    assert client.post("/steps/check", json=[a_step(channel="fax")]).status_code == 422


def test_a_campaign_of_another_tenant_is_not_found(client: TestClient) -> None:
    campaign = new_campaign(client)
    other = {"X-Tenant": str(uuid4())}
    response = client.get(f"/campaigns/{campaign['id']}", headers=other)
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def test_the_openapi_document_has_our_types_by_name_and_describes_the_answers(
    client: TestClient,
) -> None:
    openapi = client.get("/openapi.json").json()
    text = json.dumps(openapi)
    assert "urn:" not in text
    schemas = openapi["components"]["schemas"]
    assert {*re.findall(r'"#/components/schemas/([\w-]+)"', text)} == {*schemas}
    assert {
        *("ActionState", "Campaign", "CampaignModelError", "CampaignSummaryPage"),
        *("GenerationConfig", "Progress", "NewCampaign"),
    } <= {*schemas}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    campaign = new_campaign(client, generation_config={"tone": "casual"})
    path = f"/campaigns/{campaign['id']}"
    for name, document in (
        ("Campaign", campaign),
        ("Progress", client.get(f"{path}/progress").json()),
        ("ActionState", client.get(f"{path}/actions").json()[0]),
        ("CampaignSummaryPage", client.get("/campaigns").json()),
        ("CampaignModelError", client.get(f"/campaigns/{uuid4()}").json()),
    ):
        assert list(Draft202012Validator(schemas[name]).iter_errors(document)) == [], name
        assert list(Draft202012Validator(schemas[name]).iter_errors({})) != [], name


# --- Errors --------------------------------------------------------------------------------------


def answer_to(error: Exception) -> Any:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    def fail() -> None:
        raise error

    return TestClient(app, raise_server_exceptions=False).get("/")


@pytest.mark.parametrize(
    "error",
    [value for value in SAMPLES if isinstance(value, CampaignModelError)],
    ids=lambda error: error.code,
)
def test_every_error_is_answered_with_its_status_and_its_data(error: CampaignModelError) -> None:
    response = answer_to(error)
    assert (response.status_code, response.json()) == (error.http_status, error.to_dict())


def test_the_page_has_the_status_of_every_error() -> None:
    _, _, table = PAGE.partition("| error | status | body |\n")
    statuses = {
        name: int(status)
        for names, status in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\d+) \|", table, re.MULTILINE)
        for name in re.findall(r"\w+", names)
    }
    others = {TransactionAborted.__name__: 500}  # It has two rows, with more words.
    assert statuses | others == {cls.__name__: cls.http_status for cls in ERRORS.values()}
    assert {NotFound, LeaseLost, TransitionNotAllowed, InvalidArgument} <= {*ERRORS.values()}


def busy() -> sa.exc.OperationalError:
    reason = sqlite3.OperationalError("database is locked")
    reason.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return sa.exc.OperationalError("SELECT 1", None, reason)


def aborted_by(cause: Exception) -> TransactionAborted:
    error = TransactionAborted("an error of the database was caught")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [busy(), aborted_by(busy()), sa.exc.TimeoutError("no free connection")],
    ids=["conflict", "aborted by a conflict", "no free connection"],
)
def test_a_database_that_cannot_work_at_the_moment_is_answered_with_503(error: Exception) -> None:
    response = answer_to(error)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json()["code"] == "database_unavailable"


def test_a_mistake_in_a_statement_stays_an_exception() -> None:
    wrong = sa.exc.OperationalError("SELECT 1", None, sqlite3.OperationalError("no such table"))
    assert answer_to(wrong).status_code == 500
    response = answer_to(aborted_by(wrong))
    assert (response.status_code, response.json()["code"]) == (500, "transaction_aborted")
    conflict = answer_to(Conflict("stale_version", "load it again"))
    assert conflict.status_code == 409
