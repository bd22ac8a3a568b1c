"""The demo's contacts file: spellings that are accepted, and how contacts get their ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign_model.cli.demo.contacts import Contact, read_contacts


@pytest.mark.parametrize(
    ("text", "contacts", "repeated"),
    [
        ("first_name,company\nAda,X\n", [Contact("Ada", company="X")], 0),
        (
            "First Name;Organisation;E-Mail\nAda;X;a@example.com\n",
            [Contact("Ada", company="X", email_address="a@example.com")],
            0,
        ),
        (
            "\ufefffirst_name\tcompany\tLinkedIn\nAda\tX\thttps://example.com/ada\n",
            [Contact("Ada", company="X", linkedin_url="https://example.com/ada")],
            0,
        ),
        ("first_name,company,mine\r\n Ada , X ,1\r\n\r\n,,\r\n", [Contact("Ada", company="X")], 0),
        ('first_name,company\nAda,"X, Y\nand Z"\n', [Contact("Ada", company="X, Y\nand Z")], 0),
        (
            "first_name,company,email\nAda,X,a@example.com\nA.,X,A@example.com\n",
            [Contact("Ada", company="X", email_address="a@example.com")],
            1,
        ),
        (
            "first_name,company\nAda,X\nada,x\nAda\n",
            [Contact("Ada", company="X"), Contact("Ada")],
            1,
        ),
    ],
    ids=[
        *("commas", "semicolons", "tabs and a byte order mark", "spaces and empty lines"),
        *("quotes", "the same address twice", "the same name twice"),
    ],
)
def test_contacts_are_read_from_common_spreadsheet_formats(
    tmp_path: Path, text: str, contacts: list[Contact], repeated: int
) -> None:
    file = tmp_path / "contacts.csv"
    file.write_bytes(text.encode())
    first, second = (read_contacts(file, ("first_name", "company")) for _ in range(2))
    assert list(first[0].values()) == contacts
    assert first[1] == repeated
    assert first == second  # The ids too.
