"""The process that fuzzes: the arguments are those of libFuzzer. :mod:`fuzz.__main__` starts it."""

from __future__ import annotations

import hashlib
import sys
import traceback

import atheris

from fuzz import FAULTS

# atheris sees which lines run only of modules that are imported here.
with atheris.instrument_imports(include=["campaign_model", "json", "csv"]):
    from fuzz.mutations import mutate_document
    from fuzz.targets import check

seen: set[tuple[str, int | None]] = set()
"""The places that have raised."""


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change a document as JSON or as bytes, and every other input as bytes."""
    mutated = mutate_document(data, seed) if data[:1] in b"0124" and seed % 2 else None
    changed: bytes = atheris.Mutate(data, max_size) if mutated is None else mutated[:max_size]
    return changed


def run(data: bytes) -> None:
    """Check an input. Print a fault and go on."""
    try:
        check(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
        place = traceback.extract_tb(error.__traceback__)[-1]
        if (place.filename, place.lineno) not in seen:
            seen.add((place.filename, place.lineno))
            FAULTS.mkdir(exist_ok=True)
            path = FAULTS / hashlib.sha256(data).hexdigest()[:16]
            path.write_bytes(data)
            print(f"fault {path.name}: {data!r}\n{traceback.format_exc()}", flush=True)


atheris.Setup(sys.argv, run, custom_mutator=mutate)
atheris.Fuzz()  # Ends the process.
