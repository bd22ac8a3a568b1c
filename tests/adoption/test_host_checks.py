"""Constraints and generated columns of the host on columns that the library writes."""

from __future__ import annotations

import pytest

from campaign_model import db
from support.adoption import EXTENDED, DatabaseState, LegacyDatabases, adopt, execute
from support.legacy_rows import sample_rows


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        pytest.param(
            "ALTER TABLE campaigns ADD CONSTRAINT words CHECK (status <> 'review') NO INHERIT",
            r"constraint words on campaigns refuses statuses of this library \(review\)",
            id="a status of campaigns",
        ),
        pytest.param(
            """ALTER TABLE campaign_contacts ADD CONSTRAINT "100% :sure"
            CHECK (status IN ('pending', 'complete', 'incomplete')) NOT VALID""",
            r"constraint 100% :sure on campaign_contacts refuses .*generated.*excluded",
            id="statuses of contacts",
        ),
        pytest.param(
            "ALTER TABLE campaigns ADD CONSTRAINT numbers CHECK (status::int > 0) NOT VALID",
            r"constraint numbers on campaigns refuses .*draft",
            id="a CHECK that raises an error",
        ),
        pytest.param(
            """ALTER TABLE campaigns DROP COLUMN total_contacts,
            ADD COLUMN total_contacts int GENERATED ALWAYS AS (1) STORED""",
            "campaigns.total_contacts is a generated column",
            id="a generated column",
        ),
    ],
)
def test_what_refuses_the_writes_of_the_library_is_refused_at_the_start(
    newest: LegacyDatabases, statement: str, message: str
) -> None:
    with newest.database(EXTENDED, sample_rows) as engine:
        execute(engine, "UPDATE campaigns SET status = 'draft'")
        execute(engine, statement.replace(":", r"\:"))
        before = DatabaseState.read(engine)
        for dry_run in (True, False):
            with pytest.raises(db.SetupError, match=message):
                adopt(engine, dry_run=dry_run)
        assert message.partition(" ")[0] in str(db.verify(engine).pending)
        assert DatabaseState.read(engine) == before


def test_a_check_on_statuses_that_is_added_later_is_reported(newest: LegacyDatabases) -> None:
    with newest.database(EXTENDED, sample_rows) as engine:
        adopt(engine)
        execute(
            engine,
            "ALTER TABLE campaigns ADD CONSTRAINT words CHECK (status <> 'review') NOT VALID",
        )
        execute(
            engine,
            "ALTER TABLE campaigns ADD CONSTRAINT few CHECK (total_contacts < 9999)",
        )
        verdict = db.verify(engine)
        assert any("constraint few on campaigns" in warning for warning in verdict.warnings)
        assert verdict.shape == "changed"
        assert any("words" in pending for pending in verdict.pending)
