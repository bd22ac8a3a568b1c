"""Wheel, sdist and editable install contain the package, the schemas and the presets."""

from __future__ import annotations

import email
import json
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from support.paths import ROOT, SCHEMAS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]

DESCRIBE_PACKAGE = """
import json
from importlib.resources import files

from hypothesis import Phase, find, settings, strategies

import campaign_model
from campaign_model import presets
from campaign_model.validation import load_schema

print(json.dumps({
    "file": campaign_model.__file__,
    "schema": load_schema("template_config.submitted")["type"],
    "presets": len(presets.load()),
    "contains_schemas": (files(campaign_model) / "schemas").is_dir(),
    "from_type": find(
        strategies.from_type(campaign_model.Renewal),
        lambda _: True,
        settings=settings(phases=[Phase.generate]),
    ).expires_at.year,
}))
"""


def build(directory: Path, target: str, source: Path = ROOT) -> Path:
    """Build ``source`` with hatchling and return the file that it writes."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", directory],
        cwd=source,
        check=True,
    )
    (built_file,) = directory.iterdir()
    return built_file


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="session")
def sdist_wheel(tmp_path_factory: pytest.TempPathFactory, sdist: Path) -> Path:
    directory = tmp_path_factory.mktemp("sdist-wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory / "unpacked", filter="data")
    (unpacked,) = (directory / "unpacked").iterdir()
    return build(directory / "built", "wheel", unpacked)


@pytest.fixture(scope="session")
def editable_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that ``pip install --editable`` builds and installs."""
    return build(tmp_path_factory.mktemp("editable"), "wheel:editable")


def list_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def list_files(directory: Path) -> set[str]:
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.mark.parametrize("kind", ["wheel", "sdist_wheel", "editable_wheel"])
def test_an_installed_package_finds_schemas_presets_and_entry_point(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # Creating an environment without pip is fast; the pip of this environment installs into it.
    venv.create(tmp_path, with_pip=False)
    python = tmp_path / "bin" / "python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--no-index", "--no-deps", request.getfixturevalue(kind)),
        ],
        check=True,
    )
    (site,) = tmp_path.glob("lib/python*/site-packages")
    # Take the dependencies from the environment of the tests. Python reads .pth files by name, so
    # zz_ puts that environment, which has the package too, last on the path.
    (site / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib"))

    completed = subprocess.run(
        [python, "-c", DESCRIBE_PACKAGE],
        cwd=tmp_path,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    is_editable = kind == "editable_wheel"
    package = (ROOT / "src" if is_editable else site) / "campaign_model"
    assert json.loads(completed.stdout) == {
        "file": str(package / "__init__.py"),
        "schema": "array",
        "presets": 3,
        # An editable install reads the schemas of the repository, not a copy.
        "contains_schemas": not is_editable,
        # The fixed year shows that the entry point of Hypothesis works.
        "from_type": 2026,
    }


def test_the_wheel_contains_only_the_package_and_the_schemas(wheel: Path) -> None:
    expected = list_files(ROOT / "src")
    expected |= {
        f"campaign_model/schemas/{name}"
        for name in list_files(SCHEMAS)
        if not name.startswith("fixtures/")
    }
    assert {name for name in list_wheel(wheel) if ".dist-info/" not in name} == expected


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 600_000


def test_every_link_of_the_published_readme_is_absolute(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert f"Repository, {REPOSITORY}" in metadata.get_all("Project-URL", [])
    readme = MarkdownIt().enable("table").parse(str(metadata.get_payload()))
    inline = [token for block in readme for token in block.children or ()]
    links = {str(token.attrs["href"]) for token in inline if token.type == "link_open"}
    links |= {str(token.attrs["src"]) for token in inline if token.type == "image"}
    assert all(link.startswith("https://") for link in links), links
    files = {link.removeprefix(f"{REPOSITORY}/blob/main/") for link in links if "/blob/" in link}
    assert "docs/glossary.md" in files
    assert [file for file in files if not (ROOT / file.partition("#")[0]).exists()] == []


def test_a_wheel_built_from_the_sdist_is_the_same(wheel: Path, sdist_wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as direct, zipfile.ZipFile(sdist_wheel) as indirect:
        assert {name: direct.read(name) for name in direct.namelist()} == {
            name: indirect.read(name) for name in indirect.namelist()
        }


def test_the_sdist_contains_sources_tests_docs_and_schemas(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert files >= {f"schemas/{name}" for name in list_files(SCHEMAS)}
    assert top >= {
        *("src", "schemas", "tests", "docs"),
        *("README.md", "CHANGELOG.md", "LICENSE", "noxfile.py", "pyproject.toml"),
        # Tests read these files.
        *("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"),
        *(".ci", ".github", ".pre-commit-config.yaml"),
    }


def test_an_editable_install_contains_only_a_path(editable_wheel: Path) -> None:
    content = {name for name in list_wheel(editable_wheel) if ".dist-info/" not in name}
    assert content == {"_campaign_model.pth"}
