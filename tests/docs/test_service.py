"""The example service: its API on every engine, and its page in a real browser."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from campaign_model.testing.parallel import wait_until
from support.pages import read_blocks
from support.paths import DOCS, ROOT, TESTS

SERVICE = DOCS / "examples" / "service"
PATIENCE = 120.0
"""Seconds that the processes of the service may take for one step on a busy machine."""

CONTACTS = """\
first_name;last_name;company;email_address
Ada;Lovelace;Engines;ada@example.com
Grace;Hopper;Compilers;grace@example.com
Alan;Turing;Machines;
Unlucky;Person;Nowhere;unlucky@example.com
"""


@contextmanager
def running(folder: Path, url: str, log: Path) -> Iterator[str]:
    """Start the service with the first command of its README, and yield its address."""
    command = next(block for block in read_blocks(SERVICE / "README.md") if block.language == "sh")
    assert command.code.endswith(f".venv/bin/python {SERVICE.relative_to(ROOT)}\n")
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, folder, "--url", url, "--port", "0"],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            address: list[str] = []

            def has_started() -> bool:
                assert process.poll() is None, log.read_text()
                address[:] = re.findall(r"running on (http://\S+)", log.read_text())
                return bool(address)

            wait_until(has_started, "the service has started", PATIENCE)
            yield address[0]
        finally:
            process.terminate()
            process.wait()


def test_the_application_has_less_than_300_lines() -> None:
    assert len((SERVICE / "app.py").read_text(encoding="utf-8").splitlines()) < 300


def test_the_validators_of_the_page_are_those_of_the_published_schemas(node_modules: Path) -> None:
    assert node_modules.exists()
    node, script = shutil.which("node"), TESTS / "javascript" / "standalone.mjs"
    assert node is not None
    code = subprocess.run([node, script], capture_output=True, text=True, check=True).stdout
    file = SERVICE / "static" / "validators.js"
    assert file.read_text(encoding="utf-8") == code, f"run node {script} > {file}"


class Api:
    """Calls the service as the page does."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client
        self.campaign = ""

    def __call__(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        response = self.client.request(method, path, **options)
        assert response.status_code == status, response.text
        is_json = response.headers["content-type"] == "application/json"
        return response.json() if is_json else response.text

    def of_campaign(self, method: str, path: str = "", status: int = 200, **options: Any) -> Any:
        return self(method, f"campaigns/{self.campaign}{path}", status, **options)

    def apply(self, action: str, status: int = 200) -> Any:
        return self.of_campaign("POST", f"/actions/{action}", status, json={"reason": None})

    def wait_for(self, what: str, condition: Callable[[Any], bool]) -> Any:
        views: list[Any] = []

        def holds() -> bool:
            views[:] = [self.of_campaign("GET")]
            return condition(views[0])

        wait_until(holds, what, PATIENCE)
        return views[0]


def test_a_campaign_goes_from_template_to_export(
    engine_name: str, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    """With the generate.py of the README, which a newcomer puts in the place of the sample's."""
    folder, log = shutil.copytree(SERVICE, tmp_path / "service"), tmp_path / "log.txt"
    (block,) = [one for one in read_blocks(SERVICE / "README.md") if one.language == "python"]
    (folder / "generate.py").write_text(block.code)
    with (
        running(folder, new_database(engine_name), log) as address,
        httpx2.Client(base_url=f"{address}/api/", timeout=60) as client,
    ):
        api = Api(client)

        # 1. The sample campaign is there, and a new one starts from a template.
        (sample,) = api("GET", "campaigns")["items"]
        assert (sample["name"], sample["total_contacts"]) == ("Spring outreach", 40)
        template = next(one for one in api("GET", "templates") if one["name"] == "Email 3-Step")
        created = api(
            "POST", "campaigns", 201, json={"name": "Autumn", "template_id": template["id"]}
        )
        api.campaign = created["campaign"]["id"]

        # 2. Edits: every violation has its place, and an edit of an old version is refused.
        documents = {
            "version": created["campaign"]["version"],
            "steps": created["campaign"]["steps"],
            "generation_config": {"tone": "casual", "budget": "5.00"},
        }
        steps = documents["steps"]
        bad_steps = [steps[0] | {"day_offset": 9}, steps[1] | {"label": ""}, steps[2]]
        refused = api.of_campaign("PUT", "", 422, json=documents | {"steps": bad_steps})
        assert {one["path"] for one in refused["violations"]} >= {"/1/label"}
        two_steps = [steps[1] | {"step": 1, "variant_count": 1}, steps[0] | {"step": 2}]
        two_steps[1]["day_offset"] = 5
        saved = api.of_campaign("PUT", json=documents | {"steps": two_steps})
        assert [step["key"] for step in saved["campaign"]["steps"]] == ["value", "intro"]
        stale = api.of_campaign("PUT", "", 409, json=documents)
        assert stale["reason"] == "stale_version"

        # 3. Contacts. Buttons say why not.
        upload = httpx2.get(f"{address}/openapi.json").json()["paths"][
            "/api/campaigns/{id}/contacts"
        ]["post"]
        assert {*upload["requestBody"]["content"]} == {"text/csv"}
        assert api.apply("mark_ready", 409)["unmet"][0]["guard"] == "has_contacts"
        for bad in (b"first_name\nAda\n", b"first_name,company\n\xff,x\n", b'"a" b"\n'):
            assert api.of_campaign("POST", "/contacts", 422, content=bad)["argument"] == "contacts"
        for added in (4, 0):
            assigned = api.of_campaign("POST", "/contacts", content=CONTACTS)
            assert assigned == {"added": added, "already_there": 4 - added, "not_ready": 1}

        # 4. Workers generate. One contact fails, and one lacks an address.
        assert {one["action"] for one in api.of_campaign("GET")["actions"] if one["allowed"]} == {
            "mark_ready",
            "delete",
        }
        api.apply("mark_ready")
        api.apply("start_generation")
        view = api.wait_for("review", lambda view: view["campaign"]["status"] == "review")
        counts = view["progress"]["by_status"]
        assert (counts["generated"], counts["failed"], counts["enrichment_needed"]) == (2, 1, 1)
        assert Decimal(view["progress"]["spent"]) == Decimal("0.06")
        (failed,) = api.of_campaign("GET", "/contacts?status=failed")["items"]
        assert (failed["first_name"], failed["error"]) == ("Unlucky", "LookupError")
        assert api.of_campaign("POST", "/retry") == {"changed": 1}
        assert view["outdated"] == 0
        documents["version"] = api.apply("request_changes")["campaign"]["version"]
        two_steps[0]["label"] = "What it is worth"
        assert api.of_campaign("PUT", json=documents | {"steps": two_steps})["outdated"] == 2
        assert api.of_campaign("POST", "/retry") == {"changed": 2}
        assert api.of_campaign("GET")["outdated"] == 0
        api.apply("start_generation")
        api.wait_for("review", lambda view: view["campaign"]["status"] == "review")

        # 5. Review: the campaign is approved when every message is decided.
        messages = api.of_campaign("GET", "/messages")["items"]
        assert len(messages) == 6
        rejected, *approved = (message["id"] for message in messages)
        unmet = {one["guard"] for one in api.apply("approve", 409)["unmet"]}
        assert unmet == {"nothing_undecided", "something_approved"}
        review = {"decision": "rejected", "message_ids": [rejected]}
        assert api.of_campaign("POST", "/review", json=review)["review"]["rejected"] == 1
        api.of_campaign("POST", "/review", json={"decision": "approved", "message_ids": None})
        api.apply("approve")
        late = api.of_campaign("POST", "/review", 409, json=review)
        assert (late["action"], late["legal_from"]) == ("review_messages", ["review"])

        # 6. Export: the workers send what was approved.
        api.apply("export")
        view = api.wait_for("all is sent", lambda view: view["progress"]["exported"] == 2)
        assert sorted(re.findall(r"^sending (\S+) to", log.read_text(), re.MULTILINE)) == sorted(
            approved
        )
        table = csv.DictReader(io.StringIO(api.of_campaign("GET", "/export.csv")))
        assert sorted(row["id"] for row in table) == sorted(approved)
        assert [entry["target"] for entry in view["history"]] == [
            *("ready", "generating", "review"),
            *("ready", "generating", "review"),
            *("approved", "exported"),
        ]
        assert {entry["actor"] for entry in view["history"]} <= {"you", "worker-1", "worker-2"}


# --- The page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        sentence = "Chromium is not installed; on Debian: apt-get install chromium"
        if os.environ.get("CHROMIUM_REQUIRED") or os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser,
    ):
        yield browser


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory,
    browser: Browser,  # noqa: ARG001 - skips first
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    with running(SERVICE, f"sqlite:///{folder}/campaigns.db", folder / "log.txt") as address:
        yield address


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """Open the page. No error may escape its code."""
    with browser.new_context(reduced_motion="reduce", **options) as context:
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        yield page
        assert errors == []


def look(page: Page, screenshot: Path) -> None:
    """Check what is on the screen for accessibility, and keep a picture of it."""
    page.screenshot(path=screenshot, full_page=True)
    report = Axe().run(page)
    assert report.violations_count == 0, report.generate_report()


@pytest.mark.long
def test_a_user_takes_a_campaign_from_template_to_export(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    with opened(browser, address, viewport={"width": 1280, "height": 900}) as page:
        # 1. Choose a template.
        page.get_by_role("button", name="New campaign").click()
        page.get_by_label("Name").fill("Autumn outreach")
        page.get_by_label("LinkedIn + Email Sequence").check()
        look(page, tmp_path / "1-template.png")
        page.get_by_role("button", name="Create campaign").click()
        expect(page.get_by_role("heading", name="Autumn outreach")).to_be_visible()
        expect(page.get_by_role("list", name="Status").locator("[aria-current]")).to_have_text(
            "Draft"
        )

        # 2. Edit steps. ajv finds faults before anything is sent.
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.method))
        steps = page.get_by_role("listitem", name=re.compile("Step "))
        expect(steps).to_have_count(5)
        steps.nth(0).get_by_label("Label").fill("")
        page.get_by_label("Budget").fill("1,50")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("2 faults to correct")).to_be_visible()
        expect(steps.nth(0).get_by_label("Label")).to_be_focused()
        expect(steps.nth(0).get_by_label("Label")).to_have_accessible_description("must be given")
        expect(page.get_by_text("must be an amount such as 25.00")).to_be_visible()
        look(page, tmp_path / "2-faults.png")
        assert "PUT" not in requests
        steps.nth(0).get_by_label("Label").fill("Invite")
        page.get_by_label("Budget").fill("1.50")
        # What no schema can say, the server finds; its sentence is beside the field too.
        steps.nth(1).get_by_label("Day").fill("300")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("is before day 300")).not_to_have_count(0)
        steps.nth(1).get_by_label("Day").fill("2")
        page.get_by_role("button", name="Remove step 5").click()
        page.get_by_role("button", name="Move step 2 up").click()
        expect(page.get_by_role("button", name="Move step 1 down")).to_be_focused()
        expect(steps.nth(1).get_by_label("Label")).to_have_value("Invite")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("button", name="Save")).to_be_hidden()
        expect(steps.nth(1).get_by_label("Label")).to_have_value("Invite")

        # 3. Assign contacts. A button that cannot be used says why.
        ready = page.get_by_role("button", name="Mark ready")
        expect(ready).to_be_disabled()
        expect(ready).to_have_accessible_description(re.compile("the campaign has no contacts"))
        page.get_by_role("link", name="Contacts", exact=True).click()
        lines = CONTACTS.replace(";", ",").splitlines(keepends=True)
        rows = lines[0].replace("email_address", "email_address,linkedin_url") + "".join(
            line.rstrip() + f",in/{number}\n" for number, line in enumerate(lines[1:])
        )
        file: FilePayload = {"name": "a.csv", "mimeType": "text/csv", "buffer": rows.encode()}
        page.get_by_label("CSV file").set_input_files(file)
        expect(page.get_by_text("4 contacts assigned; 1 lack a field")).to_be_visible()
        expect(page.get_by_role("row", name=re.compile("Alan Turing"))).to_contain_text(
            "lacks email address"
        )
        look(page, tmp_path / "3-contacts.png")

        # 4. Workers generate while the page follows.
        ready.click()
        page.get_by_role("button", name="Start generation").click()
        progress = page.get_by_role("progressbar")
        busy = page.locator(".legend").get_by_text(re.compile(r"\d generat"))
        expect(busy.first).to_be_visible()
        look(page, tmp_path / "4-generating.png")
        expect(progress).to_have_attribute(
            "aria-valuetext", "3 of 4 contacts generated", timeout=30_000
        )
        expect(page.get_by_role("list", name="Status").locator("[aria-current]")).to_have_text(
            "Review"
        )
        expect(page.get_by_role("region", name="Progress")).to_contain_text(
            re.compile(r"Spent0\.0\d+")
        )

        # 5. Review.
        page.get_by_role("link", name="Messages", exact=True).click()
        expect(page.get_by_text(re.compile("0 approved, 0 rejected"))).to_be_visible()
        page.get_by_role("button", name=re.compile("^Reject message")).first.click()
        page.get_by_role("button", name=re.compile("^Approve message")).nth(1).click()
        expect(page.get_by_text(re.compile("1 approved, 1 rejected"))).to_be_visible()
        look(page, tmp_path / "5-review.png")
        page.get_by_role("button", name=re.compile("Approve all")).click()
        page.get_by_role("button", name="Approve", exact=True).click()

        # 6. Export.
        page.get_by_role("button", name="Export", exact=True).click()
        expect(page.get_by_text("3 of 3", exact=True)).to_be_visible(timeout=30_000)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download CSV").click()
        sent = csv.DictReader(io.StringIO(download.value.path().read_text()))
        assert {row["first_name"] for row in sent} == {"Ada", "Grace", "Unlucky"}
        look(page, tmp_path / "6-exported.png")
        page.get_by_role("link", name="History").click()
        expect(page.get_by_text(re.compile("Export by you"))).to_be_visible()
        look(page, tmp_path / "7-history.png")


@pytest.mark.long
def test_the_page_fits_a_phone_in_the_dark(browser: Browser, address: str, tmp_path: Path) -> None:
    phone = {"width": 390, "height": 844}
    with opened(browser, address, viewport=phone, color_scheme="dark") as page:

        def check(name: str) -> None:
            look(page, tmp_path / f"{name}.png")
            assert page.evaluate("document.documentElement.scrollWidth") == phone["width"]

        expect(page.get_by_role("link", name=re.compile("Spring outreach"))).to_be_visible()
        check("1-list")
        page.get_by_role("button", name="New campaign").click()
        check("2-dialog")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("link", name=re.compile("Spring outreach")).click()
        expect(page.get_by_role("listitem", name="Step 1")).to_be_visible()
        page.get_by_label("Label").first.fill("")
        page.get_by_role("button", name="Move step 3 up").click()
        check("3-steps")
        page.get_by_role("button", name="Discard").click()
        page.get_by_role("link", name="Contacts", exact=True).click()
        expect(page.get_by_role("row", name=re.compile("Amara Okonjo"))).to_be_visible()
        check("4-contacts")
        page.get_by_role("link", name="All campaigns").click()
        expect(page.get_by_role("button", name="New campaign")).to_be_visible()
