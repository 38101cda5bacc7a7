"""The house's rules, as far as a program can read them. Each failure names the file, the line and the rule."""

import ast
import itertools
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FILE_LINES = 400
FUNCTION_LINES = 60
FUNCTION_P90 = 25
CLIENT = "clients/python/runfeed"
NEIGHBOURS = {
    "fanout": {"orchestrator_api", "runfeed"},
    "orchestrator_api": {"fanout", "runfeed"},
    CLIENT: {"fanout", "orchestrator_api"},
}
TWICE = (
    "auth_config.py",
    "descriptors.py",
    "jwks.py",
    "peers.py",
    "tokens.py",
)  # in both services: they share no package
PURE = (
    "fanout/admission.py",
    "fanout/credentials.py",
    "fanout/route.py",
    "fanout/feed.py",
    "fanout/limits.py",
    "fanout/wire.py",
    "fanout/deflate.py",
    "fanout/peers.py",
    "fanout/tokens.py",
    "orchestrator_api/addresses.py",
    "orchestrator_api/caller.py",
    "orchestrator_api/events.py",
    "orchestrator_api/groups.py",
    "orchestrator_api/peers.py",
    "orchestrator_api/polls.py",
    "orchestrator_api/tokens.py",
    "orchestrator_api/transaction.py",
    f"{CLIENT}/names.py",
    f"{CLIENT}/content.py",
    f"{CLIENT}/verdict.py",
    f"{CLIENT}/commands/output.py",
    f"{CLIENT}/sse.py",
    *(f"{CLIENT}/core/{name}.py" for name in ("actions", "asked", "link", "machine", "order", "pace", "protocol")),
    *(f"{CLIENT}/core/{name}.py" for name in ("renewal", "subscription", "watchers")),
)
IO_MODULES = {"aiohttp", "asyncio", "asyncpg", "os", "redis", "select", "socket", "ssl", "time", "uvloop", "websockets"}
STANDARD_ONLY = ("deploy/local",)
DEMO = "deploy/local/demo.py"  # a client of the services: it needs an HTTP and a WebSocket library
WATCHER = {
    f"{CLIENT}/{name}.py" for name in ("client", "driver", "places", "reader", "sse", "streams", "sync", "watch")
}  # modules of the client that need its extra `watch`, and a newer Python
REPORTER_PYTHON = (3, 9)  # `requires-python` of the client
SLEEPERS = "tests/support/"
# Built from parts, so that this file does not break the rule that it keeps.
MACHINE_PATHS = re.compile(
    "|".join(("/" + "work/", "/" + "root/", "/" + r"home/\w", "/" + r"Users/\w", "/" + "opt/wheels"))
)
REGISTRY_HOSTS = re.compile(
    "|".join(
        ("pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs", "proxy" + r"\.golang", "index-" + "url")
    )
)


def tracked() -> list[str]:
    """Paths of all tracked files that exist, and of new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout: there is no list of the project's files")
    return [path for path in done.stdout.splitlines() if (CHECKOUT / path).is_file()]


PYTHON = [path for path in tracked() if path.endswith(".py")]
SCRIPTS = (".ts", ".tsx", ".mjs")  # other languages that we write in
GENERATED = "orchestrator_api/page/"  # nobody reads it


def parsed(path: str) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse((CHECKOUT / path).read_text(), path)


def package_of(path: str) -> str:
    """The top-level package that a file belongs to."""
    return path.removeprefix("clients/python/").split("/")[0]


def imports(path: str) -> Iterator[tuple[int, str]]:
    """(line, top-level module) of every import in a file, wherever it stands."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, package_of(path) if node.level else (node.module or "").split(".")[0]


def functions(path: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function in a file, methods and inner ones included."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


@pytest.mark.parametrize("package", sorted(NEIGHBOURS))
def test_neighbours_are_strangers(package: str) -> None:
    """No service imports the other, nor a client, nor what starts them; no client imports a service."""
    forbidden = NEIGHBOURS[package] | {"deploy", "tests"}
    found = [
        f"{path}:{line} imports {module}"
        for path in PYTHON
        if path.startswith(f"{package}/")
        for line, module in imports(path)
        if module in forbidden
    ]

    assert found == []


def test_pure_modules_do_no_io() -> None:
    """The modules that decide import nothing that reads, writes, waits or tells the time."""
    found = [
        f"{path}:{line} imports {module}" for path in PURE for line, module in imports(path) if module in IO_MODULES
    ]

    assert found == []


@pytest.mark.parametrize("name", TWICE)
def test_copies_are_the_same(name: str) -> None:
    """What stands twice is the same byte for byte: a service that judged tokens in its own way would be a hole."""
    assert (CHECKOUT / "fanout" / name).read_bytes() == (CHECKOUT / "orchestrator_api" / name).read_bytes()


def test_local_is_standard_library_only() -> None:
    """What starts the services needs no package, and none of the services; only the demo is a client of theirs."""
    import sys

    found = [
        f"{path}:{line} imports {module}"
        for path in PYTHON
        if path.startswith(STANDARD_ONLY) and path != DEMO
        for line, module in imports(path)
        if module not in sys.stdlib_module_names and module != "deploy"
    ]

    assert found == []


def test_reporter_is_standard_library_only() -> None:
    """A worker's image needs no package for the reporter and its commands."""
    import sys

    found = [
        f"{path}:{line} imports {module}"
        for path in PYTHON
        if path.startswith(CLIENT) and path not in WATCHER
        for line, module in imports(path)
        if module not in sys.stdlib_module_names and module != "runfeed"
    ]

    assert found == []


def test_reporter_is_for_old_pythons() -> None:
    """The reporter is written in what the oldest Python that it promises can read."""
    project = tomllib.loads((CHECKOUT / "clients/python/pyproject.toml").read_text())["project"]

    assert project["requires-python"] == ">=" + ".".join(map(str, REPORTER_PYTHON))
    assert project["dependencies"] == []
    for path in PYTHON:
        if path.startswith(CLIENT) and path not in WATCHER:
            ast.parse((CHECKOUT / path).read_text(), path, feature_version=REPORTER_PYTHON)


def test_file_length() -> None:
    """No file of a program is longer than can be read in one go."""
    scripts = [path for path in tracked() if path.endswith(SCRIPTS) and not path.startswith(GENERATED)]
    found = [
        f"{path} has {lines} lines, more than {FILE_LINES}"
        for path in PYTHON + scripts
        if (lines := len((CHECKOUT / path).read_text().splitlines())) > FILE_LINES
    ]

    assert found == []


def test_function_length() -> None:
    """No function is longer than a screen."""
    found = [
        f"{path}:{function.lineno} {function.name} has {length(function)} lines, more than {FUNCTION_LINES}"
        for path in PYTHON
        for function in functions(path)
        if length(function) > FUNCTION_LINES
    ]

    assert found == []


@pytest.mark.parametrize("package", ["fanout", "orchestrator_api", "deploy", CLIENT])
def test_most_functions_are_short(package: str) -> None:
    """Nine functions in ten of a package have 25 lines or fewer."""
    lengths = sorted(
        length(function) for path in PYTHON if path.startswith(f"{package}/") for function in functions(path)
    )

    assert lengths[len(lengths) * 9 // 10] <= FUNCTION_P90


def naked_sleeps(path: str) -> Iterator[int]:
    """Lines of `asyncio.sleep(x)` with x other than 0, and of `time.sleep`."""
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        module = owner.id if isinstance(owner, ast.Name) else ""
        zero = len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        if name == "sleep" and module in ("", "asyncio", "time", "anyio") and not (zero and module != "time"):
            yield node.lineno


def test_no_naked_sleep() -> None:
    """Tests wait for what they want to see, with eventually(), never for a time to pass."""
    found = [
        f"{path}:{line} sleeps"
        for path in PYTHON
        if path.startswith("tests/") and not path.startswith(SLEEPERS)
        for line in naked_sleeps(path)
    ]

    assert found == []


def test_claims() -> None:
    """Every test's docstring is a claim: one line that ends in a full stop comes first."""
    found = [
        f"{path}:{function.lineno} {function.name}"
        for path in PYTHON
        if path.startswith("tests/") and Path(path).name.startswith("test_")
        for function in functions(path)
        if function.name.startswith("test_")
        and not (ast.get_docstring(function) or "").split("\n")[0].rstrip().endswith(".")
    ]

    assert found == []


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [(MACHINE_PATHS, "a path of somebody's machine"), (REGISTRY_HOSTS, "a package registry's address")],
)
def test_nothing_of_a_machine(pattern: re.Pattern[str], rule: str) -> None:
    """No tracked file holds a path of the machine that it was written on, or where that got its packages."""
    found = []
    for path in tracked():
        text = (CHECKOUT / path).read_text(errors="replace")
        found += [
            f"{path}:{number}: {rule}: {match[0]}"
            for number, line in enumerate(text.splitlines(), 1)
            if (match := pattern.search(line))
        ]

    assert found == []


def canonical(requirement: str) -> str:
    """The package's name in a requirement, as locks write it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def locked(lock: str) -> dict[str, str]:
    """Versions by package in a lock."""
    lines = (CHECKOUT / lock).read_text().splitlines()
    return {match[1]: match[2] for line in lines if (match := re.match(r"([a-z0-9-]+)==([^\s;]+)", line))}


LOCKS: dict[str, tuple[str, ...]] = {
    "requirements.lock": ("fanout", "api", "local"),
    "requirements-dev.lock": ("fanout", "api", "local", "dev"),
    "requirements-harden.lock": ("fanout", "api", "harden"),
}


@pytest.mark.parametrize("lock", sorted(LOCKS))
def test_lock_holds_what_is_required(lock: str) -> None:
    """Every direct requirement is in the lock, each package with hashes, and nothing is required from an address."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = (project["optional-dependencies"][extra] for extra in LOCKS[lock])
    required = {canonical(requirement) for requirement in itertools.chain(project["dependencies"], *extras)}
    text = (CHECKOUT / lock).read_text()

    assert required - set(locked(lock)) == set()
    assert "://" not in text
    assert not re.search(r"^\s*(--(?!hash)|-[a-z] |\.|/)", text, re.MULTILINE)
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z])", text))


def test_locks_are_hashed() -> None:
    """No lock, whatever it is for, takes a package without a hash or from an address."""
    locks = [path for path in tracked() if re.fullmatch(r"requirements[\w-]*\.lock", path)]
    texts = {path: (CHECKOUT / path).read_text() for path in locks}

    assert len(locks) >= 4
    assert [path for path, text in texts.items() if "://" in text] == []
    assert [path for path, text in texts.items() if re.search(r"^[\w.-]+==[^\\\n]*$", text, re.MULTILINE)] == []
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", text) for text in texts.values())


def test_locks_agree() -> None:
    """What is tested is what is run: where other locks have the run lock's packages, they are the same versions."""
    run, dev, harden = (locked(f"requirements{name}.lock") for name in ("", "-dev", "-harden"))

    assert {name: dev.get(name) for name in run} == run
    assert {name: version for name, version in harden.items() if dev.get(name, version) != version} == {}


@pytest.mark.parametrize(
    ("line", "sleeps"),
    [
        ("asyncio.sleep(0)", False),
        ("asyncio.sleep(0.1)", True),
        ("time.sleep(0)", True),
        ("sleep(1)", True),
        ("eventually(lambda: True)", False),
    ],
)
def test_sleep_rule_bites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, sleeps: bool) -> None:
    """The rule on sleeps sees a sleep, and lets the yield of a turn pass."""
    (tmp_path / "test_it.py").write_text(line)
    monkeypatch.setattr("tests.unit.test_house.CHECKOUT", tmp_path)

    assert bool(list(naked_sleeps("test_it.py"))) is sleeps
