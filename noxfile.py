"""The commands of a contributor: ``nox -l`` lists them, ``nox -s NAME`` runs one."""

import itertools
import shutil
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "venv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint", "types", "imports"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = "[cli,fastapi,migrations,postgres,testing]"
PACKAGE = f".{EXTRAS}"
DIST = Path("dist")
PARALLEL = ("-n", "4", "--dist", "worksteal")
"""Four processes keep two cores busy: many tests wait, for the database or for a program."""
GITHUB_FILES = {
    "dependabot": "dependabot.yml",
    "github-issue-config": "ISSUE_TEMPLATE/config.yml",
    "github-issue-forms": "ISSUE_TEMPLATE/[!c]*.yml",
    "github-workflows": "workflows/*.yml",
}
"""The files in .github, by the name of the JSON Schema that check-jsonschema has for them."""


def tools(group: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, group)


def install_wheel(session: nox.Session, *options: str) -> None:
    """Install the wheel that the session ``build`` has made, with what the tests need."""
    (wheel,) = DIST.glob("*.whl")
    session.install(*options, f"{wheel}{EXTRAS}", *tools("test"))
    # pip does not replace an installed package of the same version.
    session.install("--force-reinstall", "--no-deps", str(wheel))


@nox.session(requires=["build"])
def tests(session: nox.Session) -> None:
    """Run the tests that are not ``long``, most of them on SQLite and the newest PostgreSQL.

    This takes five minutes on two cores. Arguments go to pytest and replace the defaults, such as
    ``-- tests/cli -k demo``.
    """
    install_wheel(session)
    session.run("pytest", *(session.posargs or [*PARALLEL, "--durations", "10"]))


@nox.session(requires=["build"])
def coverage(session: nox.Session) -> None:
    """Run all tests, also the long ones and those on PostgreSQL 15, and measure coverage.

    This takes a quarter of an hour on two cores. Arguments go to pytest too.
    """
    install_wheel(session)
    session.run(
        "pytest", *PARALLEL, "-m", "", "--hypothesis-profile", "all", "--cov", *session.posargs
    )


def tests_on_python(session: nox.Session) -> None:
    """Run the tests on another Python. Arguments go to pytest and replace the defaults."""
    install_wheel(session)
    session.run("pytest", *(session.posargs or PARALLEL))


for python in ("3.12", "3.13"):
    nox.session(tests_on_python, name=f"tests-{python}", python=python, requires=["build"])


@nox.session(requires=["build"])
def lowest(session: nox.Session) -> None:
    """Run the tests on the lowest version of every dependency that pyproject.toml allows.

    Arguments go to pytest and replace the defaults.
    """
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    constraints = {
        f"{requirement.name}=={bound.version}"
        for requirement in map(Requirement, itertools.chain(project["dependencies"], *extras))
        for bound in requirement.specifier
        if bound.operator == ">="
    }
    file = Path(session.create_tmp(), "constraints.txt")
    file.write_text("\n".join(sorted(constraints)), encoding="utf-8")
    install_wheel(session, "--constraint", str(file))
    session.install("httpx")  # The test client of the lowest FastAPI needs it.
    session.run(
        "pytest",
        # The oldest pytest does not know all of our options, and old dependencies use what newer
        # ones deprecate.
        *("-W", "ignore::pytest.PytestConfigWarning", "-W", "ignore::DeprecationWarning"),
        *(session.posargs or PARALLEL),
    )


@nox.session
def judges(session: nox.Session) -> None:
    """Compare how Python, databases and JavaScript judge documents (``-- --documents N``)."""
    session.install(PACKAGE, *tools("test"))
    session.run("python", "tests/judges.py", *session.posargs)


@nox.session
def wrong_stores(session: nox.Session) -> None:
    """Run the store contract on each wrong store, and print which tests catch it."""
    session.install(PACKAGE, *tools("test"))
    session.run(
        "pytest",
        "tests/kit/test_wrong_stores.py",
        *("--whole-contract", "-m", "", "-s"),
        *session.posargs,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff, and the files of GitHub."""
    session.install(*tools("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("zizmor", "--offline", "--quiet", ".github")
    for schema, files in GITHUB_FILES.items():
        paths = map(str, Path(".github").glob(files))
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths)


@nox.session
def fix(session: nox.Session) -> None:
    """Let ruff fix and format what it can."""
    session.install(*tools("lint"))
    session.run("ruff", "check", "--fix", "--exit-zero")
    session.run("ruff", "format")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy --strict, and with pyright that every public name has a type."""
    session.install("-e", PACKAGE, *tools("types"), *tools("bench"), *tools("test"))
    session.run("mypy", *session.posargs)
    session.run("pyright", "--verifytypes", "campaign_model", "--ignoreexternal")


@nox.session
def imports(session: nox.Session) -> None:
    """Check that modules import only what their layer may import."""
    session.install(*tools("imports"))
    session.run("lint-imports", "--no-logo", *session.posargs, env={"PYTHONPATH": "src"})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into docs/_build/html. Every warning is an error.

    The build checks the links between pages. ``-- -b linkcheck`` checks those to other sites.
    """
    session.install(PACKAGE, *tools("docs"))
    options = ("--fail-on-warning", "--keep-going", "--jobs", "2")
    session.run("sphinx-build", *options, *session.posargs, "docs", "docs/_build/html")


@nox.session
def generate(session: nox.Session) -> None:
    """Rewrite the generated files; ``-- --check`` only names those that differ."""
    session.install(*PYPROJECT["project"]["dependencies"])
    session.run("python", "-m", "generate", *session.posargs, env={"PYTHONPATH": "src:tests"})


@nox.session
def mutation(session: nox.Session) -> None:
    """Run mutation tests: all parts, or those named after ``--``, such as ``-- lifecycle``."""
    session.install("-e", PACKAGE, *tools("test"), *tools("mutation"))
    session.run(
        "python",
        "-m",
        "mutation",
        session.create_tmp(),
        *session.posargs,
        env={"PYTHONPATH": "tests"},
    )


@nox.session
def demo(session: nox.Session) -> None:
    """Run one campaign from template to export; arguments go to ``campaign-model demo``."""
    session.install(".[cli,postgres]")
    session.run("campaign-model", "demo", *session.posargs)


@nox.session
def rates(session: nox.Session) -> None:
    """Measure how many values per second each strategy of the test kit draws."""
    session.install(PACKAGE)
    session.run("python", "tests/kit_rates.py")


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill 250 workers and exporters, and the server; ``-- --seed N`` sets the seed.

    ``-- --hostile`` runs workers while the database misbehaves instead.
    """
    session.install(PACKAGE, *tools("test"))
    options = [option for option in session.posargs if option != "--hostile"]
    script = "hostile" if len(options) < len(session.posargs) else "chaos"
    session.run("python", f"tests/{script}.py", *options)


@nox.session
def mixed_load(session: nox.Session) -> None:
    """Call everything at once on one campaign, for one hour or ``-- --minutes N``."""
    session.install(PACKAGE, *tools("test"))
    session.run("python", "tests/mixed_load.py", *session.posargs)


@nox.session
def attack(session: nox.Session) -> None:
    """Attack the store as one tenant with the ids of another one (``-- --calls N --seed N``)."""
    session.install(PACKAGE, *tools("test"))
    session.run("python", "-m", "attack", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz everything that reads documents and contacts (``-- --seconds N``), one minute.

    ``-- --keep`` keeps the inputs that run new code in ``tests/fuzz/corpus``.
    """
    session.install(PACKAGE, *tools("test"), *tools("fuzz"))
    session.run("python", "-m", "fuzz", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def bench(session: nox.Session) -> None:
    """Compare the speed of the library with yardsticks (``-- --quick``, ``-- --only WORD``)."""
    session.install(PACKAGE, *tools("test"), *tools("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist and the wheel into dist/, and check them before they can be published."""
    session.install(*tools("build"))
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(DIST))
    session.run("twine", "check", "--strict", *map(str, DIST.iterdir()))
    session.run("check-wheel-contents", str(DIST))
