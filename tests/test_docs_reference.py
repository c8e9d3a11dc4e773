"""The reference has every name that the code has, and none that it has not."""

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import click

import bouncekit
from bouncekit.cli import main
from bouncekit.cli.manpage import verbs_of
from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.delivery.settlement import Settlement
from bouncekit.meaning.classification import Category, scope_of
from bouncekit.postmaster.config import Config
from bouncekit.sinks.gauge import GAUGES
from bouncekit.sinks.labels import LABELS
from bouncekit.sinks.opening import KINDS
from bouncekit.words.status import Action

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_CODE = re.compile(r"`([^`]+)`")
_BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_OF_EVERY_SINK = {"name", "types", "begin"}
_OBJECTS = {"now", "resolve", "meter_provider", "registry"}  # which no table of a configuration holds
_WORD = re.compile(r"[A-Za-z_]\w*")


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def words(text: str) -> set[str]:
    """The words that a page sets as code, outside of its blocks."""
    return {word for code in _CODE.findall(_BLOCK.sub("", text)) for word in _WORD.findall(code)}


def rows(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose head begins so."""
    table = re.search(rf"^\| {re.escape(head)}.*\n\|[-|]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    assert table, f"no table {head!r}"
    return [[cell.strip() for cell in line.strip().strip("|").split(" |")] for line in table[1].splitlines()]


def options() -> Iterator[str]:
    """A row for each verb that has options besides --json and --help."""
    for path, context in verbs_of(main):
        named = [
            f"`{'/'.join((*option.opts, *option.secondary_opts))}`"
            for option in context.command.params
            if isinstance(option, click.Option) and not option.hidden and option.opts != ["--json"]
        ]
        if named and path[1:]:
            yield f"| `{' '.join(path[1:])}` | {', '.join(named)} |"


def test_the_command_line_page_has_every_verb_and_option_and_no_other() -> None:
    table = page("reference/command-line.md").partition("| options of | |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [*options()]


def test_the_command_line_page_tells_of_every_verb() -> None:
    told = rows(page("reference/command-line.md"), "verb |")
    first = {words for cell, *_ in told for code in _CODE.findall(cell) for words in [code.split()[0]]}
    assert {path[1] for path, _ in verbs_of(main) if path[1:]} - first == set()


def test_the_python_page_has_every_public_name() -> None:
    assert set(bouncekit.__all__) - words(page("reference/python.md")) == set()


def test_the_python_page_has_everything_that_a_postmaster_can_do() -> None:
    able = {name for name in dir(bouncekit.Postmaster) if not name.startswith("_")}
    assert able - words(page("reference/python.md")) == set()


def test_the_events_page_has_every_type_and_no_other() -> None:
    told = [name.strip("`") for name, *_ in rows(page("reference/events.md"), "type |")]
    assert sorted(told) == sorted(EventType)


def test_the_events_page_has_every_attribute_and_field_of_an_outcome() -> None:
    occasion = Occasion(attempt_id="1", at=datetime(2026, 1, 1, tzinfo=UTC))
    settlement = Settlement(recipient="ada@example.com", action=Action.FAILED)
    event = Event(id="1", type=EventType.FAILED, occasion=occasion, settlement=settlement)
    named = words(page("reference/events.md"))
    assert event.to_dict()["data"].keys() - named == set()
    assert {name for name in dir(Event) if not name.startswith("_")} - named <= {"occasion", "to_dict"}


def test_the_configuration_page_has_every_setting_and_no_other() -> None:
    told = rows(page("reference/configuration.md"), "setting |")
    settings = [_CODE.findall(cell)[0] for cell, *_ in told]
    plain = [name for name in settings if not name.startswith("[")]
    tables = {re.sub(r"\W.*", "", name[1:]) for name in settings if name.startswith("[")}
    assert sorted([*plain, *tables]) == sorted(field.name for field in fields(Config) if field.name != "sources")
    for name, variable, *_ in told:
        assert name.startswith("`[") or f"`BOUNCEKIT_{name.strip('`').upper()}`" in variable


def test_the_sinks_page_has_every_kind_with_its_class_and_options() -> None:
    told = {kind.strip("`"): cells for kind, *cells in rows(page("reference/sinks.md"), "kind | class")}
    assert told.keys() == KINDS.keys()
    for kind, (module, name) in KINDS.items():
        own = inspect.signature(getattr(import_module(module), name).__init__).parameters.values()
        taken = {one.name for one in own if one.kind is not one.VAR_KEYWORD}
        assert told[kind][0] == f"`{name}`"
        assert words(told[kind][3]) == taken - {"self", "url", "target", *_OF_EVERY_SINK, *_OBJECTS}, kind


def test_the_page_of_metrics_has_each_with_its_labels_and_no_other() -> None:
    metrics = {
        "bouncekit_events_total": set(LABELS),
        "bouncekit_event_newest_timestamp_seconds": {"type"},
        **{name: set(gauge.labels) for name, gauge in GAUGES.items()},
    }
    cells = re.findall(r"^\| (`bouncekit_[^|]+) \| ([^|]*)\|", page("howto/watch-it.md"), re.MULTILINE)
    told = {name: words(labels) for names, labels in cells for name in _CODE.findall(names)}
    assert told == metrics


def test_the_page_of_categories_has_each_with_its_scope_and_no_other() -> None:
    told = {name.strip("`"): scope for name, _, scope in rows(page("reference/categories.md"), "category |")}
    assert told == {str(one): str(scope_of(one) or "nobody") for one in Category}


def test_every_key_of_a_policy_is_told_of() -> None:
    """On the page of policies, in the README of the shipped ones, or with the rules."""
    schema = json.loads((ROOT / "policies" / "policy.schema.json").read_text("utf-8"))
    readme = (ROOT / "policies" / "README.md").read_text("utf-8")
    text = "\n".join((page("reference/policy.md"), readme, page("reference/rules.md")))
    shown = {word for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) for word in _WORD.findall(block)}
    assert {key.lstrip("$") for key in _keys(schema)} - words(text) - shown == set()


def _keys(schema: object) -> Iterator[str]:
    """The names of all properties, however deep."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        for part in schema.values():
            yield from _keys(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _keys(part)
