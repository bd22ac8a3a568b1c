"""CSV files of contacts: the exports that are accepted, their faults, and the ids of contacts."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import attrs
import pytest

from campaign_model.cli.console import UserError
from campaign_model.cli.contacts_csv import Contact, ContactsFile, RowFault, read_contacts_file

ADA = Contact(
    *("Ada", "King", "Engines", "Countess", "ada@example.com"),
    *("https://www.linkedin.com/in/ada", "+44 1"),
)

APOLLO = """\
First Name,Last Name,Title,Company Name,Company Name for Emails,Email,Email Status,\
Work Direct Phone,Home Phone,Mobile Phone,Corporate Phone,Person Linkedin Url,Website,\
Company Linkedin Url
Ada,King,Countess,,Engines,ada@example.com,Verified,,,'+44 1,+44 2,\
https://www.linkedin.com/in/ada,https://example.com,https://www.linkedin.com/company/engines
"""
HUBSPOT = """\
"Record ID","First Name","Last Name","Email","Phone Number","Mobile Phone Number","Job Title",\
"Associated Company","LinkedIn URL","Lead Status"
"1","Ada","King","ada@example.com","+44 1","+44 2","Countess","Engines",\
"https://www.linkedin.com/in/ada","New"
"""
LEMLIST = """\
email,firstName,lastName,companyName,jobTitle,linkedinUrl,phone,icebreaker
ada@example.com,Ada,King,Engines,Countess,https://www.linkedin.com/in/ada,+44 1,"Hello, Ada"
"""
LINKEDIN = """\
Notes:
"When exporting your connection data, you may notice that some of the emails are missing."

First Name,Last Name,URL,Email Address,Company,Position,Connected On
Ada,King,https://www.linkedin.com/in/ada,ada@example.com,Engines,Countess,01 Jan 2026
"""


def read(
    tmp_path: Path, text: str | bytes, fields_by_column: dict[str, str] | None = None
) -> ContactsFile:
    file = tmp_path / "contacts.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_contacts_file(file, fields_by_column=fields_by_column)


@pytest.mark.parametrize(
    ("text", "contact"),
    [
        (APOLLO, ADA),
        (HUBSPOT, ADA),
        (LEMLIST, ADA),
        (LINKEDIN, attrs.evolve(ADA, phone=None)),
    ],
    ids=["apollo", "hubspot", "lemlist", "linkedin"],
)
def test_the_exports_of_common_tools_are_read_without_options(
    tmp_path: Path, text: str, contact: Contact
) -> None:
    assert read(tmp_path, text).contacts == (contact,)


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
        ("sep=|\nfirst_name|company\nAda|X, Y; Z\n", [Contact("Ada", company="X, Y; Z")], 0),
        (
            '"First Name";"Company";"Notes, tags, and more"\n"Ada";"X";"1, 2, 3"\n',
            [Contact("Ada", company="X")],
            0,
        ),
        ("first_name,company\nAda,X,,,\n", [Contact("Ada", company="X")], 0),
        ("first_name,url\nAda,https://example.com\n", [Contact("Ada")], 0),
    ],
    ids=[
        *("commas", "semicolons", "tabs and a byte order mark", "spaces and empty lines"),
        *("quotes", "the same address twice", "the same name twice", "a line with the separator"),
        *("semicolons and quoted commas", "surplus empty cells", "a website is no profile"),
    ],
)
def test_contacts_are_read_from_common_spreadsheet_formats(
    tmp_path: Path, text: str, contacts: list[Contact], repeated: int
) -> None:
    result = read(tmp_path, text)
    assert list(result.contacts) == contacts
    assert result.repeated == repeated
    assert result.faults == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_byte_order_mark_names_the_encoding(tmp_path: Path, encoding: str) -> None:
    content = "first_name;company\r\nZoë;X\r\n".encode(encoding)
    assert read(tmp_path, content).contacts == (Contact("Zoë", company="X"),)


def test_the_id_of_a_contact_follows_from_tenant_and_address() -> None:
    tenant_id, other_id = uuid4(), uuid4()
    same = Contact("A.", email_address="ADA@example.com")
    assert ADA.id_in(tenant_id) == same.id_in(tenant_id) != ADA.id_in(other_id)
    assert Contact("Ada").id_in(tenant_id) != Contact("Ada", company="X").id_in(tenant_id)


def test_the_first_column_that_is_not_empty_counts(tmp_path: Path) -> None:
    header = "First name,Mobile phone,Phone\n"
    result = read(tmp_path, header + "Ada,1,2\nBob,1,\n")
    assert [contact.phone for contact in result.contacts] == ["2", "1"]
    assert result.columns["phone"] == ["Phone", "Mobile phone"]


def test_a_map_chooses_adds_and_ignores_columns(tmp_path: Path) -> None:
    text = "Vorname,Company,Employer,Phone\nAda,X,Y,+44 1\n"
    fields = {"vorname": "first_name", "Employer": "company", "phone": ""}
    result = read(tmp_path, text, fields)
    assert result.contacts == (Contact("Ada", company="Y"),)
    assert result.columns == {"first_name": ["Vorname"], "company": ["Employer"]}
    assert result.ignored_columns == ["Company", "Phone"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('"Ada,X,ada@example.com"', "the whole row is in quotes"),
        ("Ada,X,ada@example.com,more", "4 cells but 3 columns"),
        ("Ada,X,unknown", "'unknown' is no e-mail address"),
        (",X,", "no name, no e-mail address and no LinkedIn URL"),
        ('"Ada" King,X,', "quote"),
    ],
)
def test_a_wrong_row_is_a_fault_with_its_line_and_others_are_read(
    tmp_path: Path, row: str, words: str
) -> None:
    text = f'Some notes\nfirst_name,company,email\nEve,"X\nY",\n{row}\nBob,X,\n'
    result = read(tmp_path, text)
    assert [contact.first_name for contact in result.contacts] == ["Eve", "Bob"]
    (fault,) = result.faults
    assert fault == RowFault(5, fault.message)
    assert words in fault.message


@pytest.mark.parametrize(
    ("text", "fields_by_column", "words"),
    [
        ("", {}, "is empty"),
        (
            "name,mail\nAda,a@example.com\n",
            {},
            "no column that is known; its columns are name",
        ),
        ("email\nada@example.com\n", {"Mail": "email_address"}, "no column Mail"),
        ("email,company,company name\na@b,c,d\n", {}, "two columns for company: 'company', 'comp"),
        ('first_name,company\nAda,X\nBob,"Y\nEve,Z\n', {}, "line 3: unexpected end"),
        (b"first_name\nAda\n" + b"Zo\xeb\n", {}, "not UTF-8 text (line 3)"),
        ("first_name\nA\0da\n", {}, "NUL"),
        ("first_name\n\n", {}, "a header but no contacts"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, text: str | bytes, fields_by_column: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text, fields_by_column)
    assert words in str(caught.value)
