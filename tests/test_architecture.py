"""The floors of the house: who may import whom. The tuple below is printed in docs/explanation/architecture.md."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bouncekit"

# Floors from below, their packages, the modules of each in their order. A module imports from lower floors, from the
# packages before its own on its floor, and in its own package from those before it. A package that names no modules has
# no order inside.
FLOORS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "words",
        {
            "words": (
                "quick ondemand errors phrase showing measures columns address pseudonym typos reply envelope status"
            ),
        },
    ),
    (
        "reading",
        {
            "protocol": "classmark rendering commandlines transaction downgrading conversation opening refusal",
            "bounces": (
                "verp mimepart diagnostic dsn feedback incoming sesnotice bouncewords bouncetext openedmail"
                " autoreply bouncemail"
            ),
        },
    ),
    (
        "meaning",
        {
            "meaning": (
                "classification waithint blocklist whose vocabulary phrasebook meaning rulefile classifier ruletrial"
            ),
            "codes": "",
        },
    ),
    (
        "policy",
        {
            "policy": "schedule suppression template lane throttle budget guard rule policy",
            "lists": "mailmerge foreignlist listfile listentry listexport",
            "policyfiles": (
                "tomlplaces policytree yamltext policytext policyvalue policyshape conditionschema scheduleschema"
                " ruleschema policyschema schedulefile policybuild policyquarrel policyfile policytrial policycase"
                " policyspace policyfault rulelint checked orderlint conditionlint trylint measurelint policylint"
                " policyprint policydiff"
            ),
        },
    ),
    (
        "delivery",
        {
            "delivery": (
                "tallied settlement spending events suppressionchange watch report steps closing lanes"
                " sorting queue parcel returned handing wholesale bench delivery submission"
            ),
            "history": (
                "retelling telling recorded repeating suggesting newcomers sifting replay backtest moments prospects"
                " timeline retold"
            ),
        },
    ),
    (
        "outside",
        {
            "outside": "clock forking drafts relay builtin secondreader provider mailroute mx loops bus",
            "stores": "",
            "transports": "",
            "sinks": "",
            "notify": "",
            "intake": "",
        },
    ),
    (
        "clients",
        {
            "desk": (
                "shadow outbox eventpages forwarding backlog ledger law notices treasurer gauging gate passage course"
                " lookout office furnishing returns waiting listimport undoing resending moving forgetting"
                " suppressionlist"
            ),
            "clients": (
                "smtperrors conduct session dialling carrying commanding smtp routing direct bulk idling client"
                " aiooffice aiosession aiodirect aiobulk aio adopt"
            ),
            "postmaster": "asking explaining recalling recipientstatus inhand worker config postmaster",
        },
    ),
    (
        "doors",
        {
            "integrations": "",
            "testing": "",
            "reports": "chart counts digest dressing page paper",
            "web": "",
        },
    ),
    (
        "command line",
        {
            "cli": "",
            "__main__": "",
        },
    ),
)
LAST_FLOOR_WITHOUT_IO = 4
# Front door and version stand outside: nobody imports the one, the other imports nothing.
APART = frozenset({"__init__", "_version"})
IO_MODULES = frozenset(
    """
    asyncio dns http logging os random smtplib socket sqlite3 ssl sqlalchemy structlog tenacity threading time urllib
    """.split()
)
# A policy file is text in, policy out: it may use its parsers, and nothing else on these floors may.
PARSERS = {
    "yamltext": {"yaml"},
    "policyvalue": {"pydantic"},
    "policyshape": {"pydantic", "pydantic_core"},
    "conditionschema": {"pydantic"},
    "scheduleschema": {"pydantic"},
    "ruleschema": {"pydantic"},
    "policyschema": {"pydantic"},
    "policyfile": {"pydantic"},
    "policycase": {"pydantic"},
    "policyprint": {"yaml"},
}
HEAVY = frozenset({"click", "rich", "apprise", "pydantic", "yaml", "regex"})

PACKAGES = [package for _, packages in FLOORS for package in packages]
FLOOR_OF = {package: number for number, (_, packages) in enumerate(FLOORS) for package in packages}
LISTED = {package: names.split() for _, packages in FLOORS for package, names in packages.items() if names}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).with_suffix("").as_posix(), path


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module's full name with its line, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides its floor"
            yield node.module or "", node.lineno
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from ((name, node.lineno) for name in inner if _file_of(name))


def top(name: str) -> str:
    """The package of ours that `name` belongs to: `stores/sqlite` and `bouncekit.stores.sqlite`: stores."""
    return name.removeprefix("bouncekit.").replace("/", ".").split(".")[0]


def place(name: str) -> tuple[int, int]:
    """Where a module stands: its package among all, and itself among those of its package, 0 where none are listed."""
    package, _, inner = name.removeprefix("bouncekit.").replace("/", ".").partition(".")
    listed = LISTED.get(package, [])
    return PACKAGES.index(package), listed.index(inner) + 1 if inner in listed else 0


MODULES = [pytest.param(name, path, id=name) for name, path in modules() if name not in APART]


def test_every_module_has_a_place_and_every_place_a_module() -> None:
    found = {top(name) for name, _ in modules()} - APART
    assert found == set(PACKAGES), f"not on any floor, or a floor without it: {sorted(found ^ set(PACKAGES))}"
    for package, listed in LISTED.items():
        inside = {path.stem for path in (PACKAGE / package).glob("*.py")} - {"__init__"}
        assert inside == set(listed), f"{package}: not listed, or not there: {sorted(inside ^ set(listed))}"


@pytest.mark.parametrize(("name", "path"), MODULES)
def test_a_module_imports_only_what_lies_below_it(name: str, path: Path) -> None:
    own = top(name)
    for imported, line in imports(path):
        where = f"bouncekit/{name}.py:{line}"
        assert imported != "bouncekit" or own in {"cli", "__main__"}, f"{where}: the front door is for applications"
        if imported == "bouncekit._version" or not imported.startswith("bouncekit."):
            continue
        is_below = place(imported) < place(name) or (top(imported) == own and own not in LISTED)
        assert is_below, f"{where}: {name} imports {imported}, which is not below it"


@pytest.mark.parametrize(("name", "path"), MODULES)
def test_inside_a_package_no_module_imports_in_a_circle(name: str, path: Path) -> None:
    """A module of a package may import its neighbours; the package's front may import all; nobody comes back."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        source = PACKAGE / f"{current}.py"
        for imported, line in imports_at_load(source):
            inner = _file_of(imported)
            if inner is None or top(inner) != top(name):
                continue
            assert inner != name, f"bouncekit/{current}.py:{line} leads back to {name}"
            if inner not in seen:
                seen.add(inner)
                waiting.append(inner)


@cache
def imports_at_load(path: Path) -> Sequence[tuple[str, int]]:
    """What is imported when the module itself is, not inside its functions."""
    found: list[tuple[str, int]] = []
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"), str(path))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.lineno))
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def _file_of(imported: str) -> str | None:
    inner = imported.removeprefix("bouncekit.").replace(".", "/")
    for candidate in (inner, f"{inner}/__init__"):
        if (PACKAGE / f"{candidate}.py").is_file():
            return candidate
    return None


@pytest.mark.parametrize(
    ("name", "path"), [case for case in MODULES if FLOOR_OF[top(str(case.values[0]))] <= LAST_FLOOR_WITHOUT_IO]
)
def test_no_floor_up_to_delivery_does_any_io(name: str, path: Path) -> None:
    allowed = PARSERS.get(path.stem, set())
    for imported, line in imports(path):
        root = imported.split(".")[0]
        where = f"bouncekit/{name}.py:{line}"
        assert root not in IO_MODULES, f"{where}: {root} belongs on floor {LAST_FLOOR_WITHOUT_IO + 1} or above"
        assert root not in HEAVY or root in allowed, f"{where}: {root} is not used here"


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules()}
    assert {name: length for name, length in lengths.items() if length > 600} == {}


def test_every_module_says_what_it_answers() -> None:
    for name, path in modules():
        if not (source := path.read_text("utf-8")).strip():
            continue
        docstring = ast.get_docstring(ast.parse(source))
        assert docstring or name == "_version", f"bouncekit/{name}.py has no docstring"


def test_the_docs_print_the_same_floors() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    block = page.split("```text\n")[1].split("```")[0]
    printed = re.findall(r"^(?:(\d) ([A-Z ]+?))? {2,}([a-z_]+)/?(?: +(.+))?$", block, re.MULTILINE)
    floors: list[tuple[str, dict[str, str]]] = []
    for number, name, package, names in printed:
        if number:
            assert int(number) == len(floors)
            floors.append((name.lower(), {}))
        floors[-1][1][package] = names
    assert tuple(floors) == FLOORS
