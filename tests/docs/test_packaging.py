"""Every way of installing the package finds the schemas and the presets."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from support.paths import ROOT, SCHEMAS

INSTALLED = """
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
    "carries_schemas": (files(campaign_model) / "schemas").is_dir(),
    "from_type": find(
        strategies.from_type(campaign_model.Renewal),
        lambda _: True,
        settings=settings(phases=[Phase.generate]),
    ).expires_at.year,
}))
"""


def build(directory: Path, target: str, source: Path = ROOT) -> Path:
    """The one file that the build backend makes of ``source``."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", directory],
        cwd=source,
        check=True,
    )
    (made,) = directory.iterdir()
    return made


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
    """What ``pip install --editable`` asks of the build backend and then installs."""
    return build(tmp_path_factory.mktemp("editable"), "wheel:editable")


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def shipped(directory: Path) -> set[str]:
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.mark.parametrize("kind", ["wheel", "sdist_wheel", "editable_wheel"])
def test_an_installed_package_finds_its_data(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # Without pip, making the environment takes no time; ours installs into it.
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
    # The dependencies, from the environment of the tests. This line stands behind the site's own
    # contents and, by its name, behind an editable install's, so it cannot lend them the package.
    (site / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib"))

    run = subprocess.run(
        [python, "-c", INSTALLED], cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True
    )
    found = json.loads(run.stdout)
    editable = kind == "editable_wheel"
    package = (ROOT / "src" if editable else site) / "campaign_model"
    assert found == {
        "file": str(package / "__init__.py"),
        "schema": "array",
        "presets": 3,
        # An editable install reads the repository's own schemas, never a copy of them.
        "carries_schemas": not editable,
        # The entry point is found, and what it names.
        "from_type": 2026,
    }


def test_the_wheel_carries_the_package_and_the_schemas_and_nothing_else(wheel: Path) -> None:
    expected = shipped(ROOT / "src")
    expected |= {
        f"campaign_model/schemas/{name}"
        for name in shipped(SCHEMAS)
        if not name.startswith("fixtures/")
    }
    assert {name for name in names(wheel) if ".dist-info/" not in name} == expected


def test_the_sdist_gives_the_same_wheel(wheel: Path, sdist_wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as direct, zipfile.ZipFile(sdist_wheel) as indirect:
        assert {name: direct.read(name) for name in direct.namelist()} == {
            name: indirect.read(name) for name in indirect.namelist()
        }


def test_the_sdist_carries_what_a_developer_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert files >= {f"schemas/{name}" for name in shipped(SCHEMAS)}
    assert top >= {
        *("src", "schemas", "tests", "docs"),
        *("README.md", "CHANGELOG.md", "LICENSE", "noxfile.py", "pyproject.toml"),
    }


def test_an_editable_install_holds_one_path_and_no_copy(editable_wheel: Path) -> None:
    content = {name for name in names(editable_wheel) if ".dist-info/" not in name}
    assert content == {"_campaign_model.pth"}
