"""What README.md and docs/ say, as far as a program can check it."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import readme

CHECKOUT = readme.CHECKOUT
FOUND = sorted(map(str, [*CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("clients/*/README.md")]))
PAGES = [CHECKOUT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", *FOUND)]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(
    r"[\w./-]*\w\.(?:py|sql|md|json|conf|svg|toml|lock)|(?:docs|deploy|tests|fanout|orchestrator_api)/[\w./-]*"
)
SERVICES = ("fanout", "orchestrator_api")
PLACES = {"Problem": 1, "Conflict": 1, "Unavailable": 0, "Unauthenticated": 0}  # of the code among the arguments


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text())


def named_files(page: Path) -> Iterator[str]:
    """What a page names in `code` that has the form of one of our files."""
    for code in CODE.findall(prose(page)):
        if FILE.fullmatch(code):
            yield code


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_of(path: str, name: str) -> set[str]:
    """The strings in the literal that a file gives to a name at its top: a tuple's items or a dict's keys."""
    for node in ast.parse((CHECKOUT / path).read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            found = node.value.keys if isinstance(node.value, ast.Dict) else getattr(node.value, "elts", [])
            return {str(item.value) for item in found if isinstance(item, ast.Constant)}
    raise AssertionError(f"{path} has no {name}")


def test_settings_are_current() -> None:
    """The README's configuration tables are those of the settings (python -m tests.support.readme rewrites them)."""
    text = readme.README.read_text()
    assert readme.current(text) == text


@pytest.mark.parametrize("text", ["", readme.BEGIN, readme.BEGIN * 2 + readme.END, readme.END + readme.BEGIN])
def test_settings_need_their_markers(text: str) -> None:
    """A README whose markers are missing, or stand twice, is not written over."""
    with pytest.raises(ValueError, match="the README must have"):
        readme.current(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that exists, and a heading that is in it."""
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    """Every file of ours that a page names is there, from the top or by a name that is below a service."""
    for name in named_files(page):
        places = [CHECKOUT / name, page.parent / name, *(CHECKOUT / service / name for service in SERVICES)]
        assert any(place.exists() for place in places), f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    """Every ./dev command and every command of a service that a page shows can be given."""
    text = page.read_text()
    dev = commands_of("dev", "COMMANDS") | {"setup"}
    assert set(re.findall(r"\./dev ([a-z]+)", text)) <= dev
    api = commands_of("orchestrator_api/__main__.py", "COMMANDS")
    assert set(re.findall(r"python -m orchestrator_api ([a-z][a-z-]*)", text)) <= api
    for module in re.findall(r"python -m ([a-z_.]+[a-z_])", text):
        path = CHECKOUT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page.name}: {module}"


def test_extras_exist() -> None:
    """The extras that the README installs are the package's."""
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    shown = re.findall(r"'\.\[([a-z,]+)\]'", readme.README.read_text())
    assert shown
    assert all(name in extras for each in shown for name in each.split(","))


def test_processes_exist() -> None:
    """The processes that the README starts are the Procfile's."""
    processes = {line.partition(":")[0] for line in (CHECKOUT / "Procfile").read_text().splitlines() if line}
    for shown in re.findall(r"^honcho start (.+)$", readme.README.read_text(), re.MULTILINE):
        assert set(shown.split()) <= processes


def test_limits_agree() -> None:
    """The protocol's table of limits is the contract's."""
    limits = json.loads((CHECKOUT / "tests/contract/contract.json").read_text())["limits"]
    text = (CHECKOUT / "docs/protocol.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| `(\w+)` \|$", text, re.MULTILINE)
    stated = {name: value for value, name in rows}
    assert stated.keys() == limits.keys()
    for name, value in limits.items():
        numbers = value if isinstance(value, list) else [value]
        assert [int(digits.replace(",", "")) for digits in re.findall(r"-?\d[\d,]*", stated[name])] == numbers, name


def test_codes_are_listed() -> None:
    """Every code that the API gives an error stands in the protocol."""
    text = (CHECKOUT / "docs/protocol.md").read_text()
    codes = set(given_codes())
    assert {"invalid", "run_unknown", "busy"} <= codes
    assert {code for code in codes if f"`{code}`" not in text} == set()


def given_codes() -> Iterator[str]:
    """The codes in the API's source: where PLACES has them, and each `code=`."""
    for path in sorted((CHECKOUT / "orchestrator_api").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            place = PLACES.get(ast.unparse(node.func))
            given = [node.args[place]] if place is not None and len(node.args) > place else []
            given += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            yield from (str(item.value) for item in given if isinstance(item, ast.Constant))
    errors = ast.parse((CHECKOUT / "orchestrator_api/errors.py").read_text())
    for function in (node for node in ast.walk(errors) if isinstance(node, ast.FunctionDef)):
        names = [argument.arg for argument in function.args.kwonlyargs]
        for name, default in zip(names, function.args.kw_defaults, strict=True):
            if name == "code" and isinstance(default, ast.Constant):
                yield str(default.value)
