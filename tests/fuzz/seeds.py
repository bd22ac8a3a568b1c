"""The first inputs of a fuzz session, and the words that its mutations insert."""

from __future__ import annotations

from collections.abc import Iterator

from campaign_model.cli.contacts_csv import _COLUMN_NAMES
from campaign_model.generation_config import GENERATION_FIELDS
from campaign_model.steps import STEP_FIELDS
from campaign_model.vocabulary import STANDARD
from fuzz.targets import KINDS, OPTIONS
from support import corpus

CONTACTS = (
    "First Name,Last Name,Email,Phone\nA,B,a@b.c,'+1\n,,x,\n",
    'sep=;\n"Mail";Notes;Company\n"a@b.c";"two\nlines";""\n',
    "Notes:\n\nURL,First Name,Connected On\nhttps://a,A,1\nhttps://a,A,2\n",
)


def inputs() -> Iterator[bytes]:
    """Yield the fixtures of documents, contacts in each encoding, and arguments of commands."""
    for folder in ("valid", "invalid"):
        for fixture in corpus.fixtures(folder):
            text = fixture.text.encode(errors="surrogatepass")
            yield b"%d%s" % (KINDS.index(fixture.kind), text)
            yield b"4%c%s" % (len(text) % 16, text)
    for contacts in CONTACTS:
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            yield b"3\x03" + contacts.encode(encoding)
    for options in (*OPTIONS, ["--bundle"], ["--typescript"], ["--help"], ["--json"], [*KINDS]):
        yield b"5" + "\0".join(options).encode()


def words() -> Iterator[str]:
    """Yield the names and values that documents, files and arguments contain."""
    yield from (*KINDS, *STEP_FIELDS, *GENERATION_FIELDS, "id", "name", "steps", "description")
    yield from (channel.name for channel in STANDARD.channels)
    yield from STANDARD.tones
    yield from ("$schema", "x_a", "1e400", "1.0", "null", "true", "[]", "{}", "\\ud800", "\\u0000")
    yield from (
        '"key"',
        '"s1"',
        '"en"',
        '"0.5"',
        "1000000000",
        "sep=",
        "Mail",
        "--stored",
        "--json",
    )
    yield from (name for texts in _COLUMN_NAMES.values() for name in texts[0].split())
