"""What docs/deploy has: rules, dashboard, unit and Compose file say only what is true of this bouncekit."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bouncekit.postmaster.config import Config
from bouncekit.sinks.gauge import GAUGES
from bouncekit.sinks.labels import LABELS

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
RULES, UNIT = DEPLOY / "bouncekit.rules.yml", DEPLOY / "bouncekit-worker.service"
RULES_TEST = ROOT / "tests" / "data" / "bouncekit.rules.test.yml"
PYTHON = Path(sys.executable).as_posix()

EXPORTED = {
    **{name: {*kind.labels} for name, kind in GAUGES.items()},
    "bouncekit_events_total": {*LABELS},
    "bouncekit_event_newest_timestamp_seconds": {"type"},
}
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
_METRIC = re.compile(r"(bouncekit_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_BY = re.compile(r"\bby \(([^)]*)\)")
_LEGEND = re.compile(r"\{\{(\w+)\}\}")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="apt-get install --no-install-recommends prometheus, for its promtool"
)


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "bouncekit-dashboard.json").read_text("utf-8"))["panels"]
    return found


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return list(group["rules"])


def queries() -> Iterator[Any]:
    for rule in rules():
        yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in panels():
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['id']}-{target['refId']}")


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_names_only_metrics_and_labels_that_there_are(query: str) -> None:
    found = _METRIC.findall(query)
    assert found
    for name, selectors in found:
        assert name in EXPORTED
        assert {*_LABEL.findall(selectors)} <= EXPORTED[name] | SCRAPED, name
    grouped = {label.strip() for labels in _BY.findall(query) for label in labels.split(",")}
    assert grouped <= SCRAPED.union(*(EXPORTED[name] for name, _ in found))


def test_the_metrics_that_there_are_are_those_that_a_registry_shows() -> None:
    client = pytest.importorskip("prometheus_client", reason="python -m pip install 'bouncekit[prometheus]'")
    from bouncekit.postmaster.postmaster import Postmaster
    from bouncekit.sinks.prometheus import Prometheus

    registry = client.CollectorRegistry()
    with Postmaster(sinks=[Prometheus(registry=registry)], worker="external") as postmaster:
        postmaster.gauges()
        shown = {family.name + "_total" * (family.type == "counter") for family in registry.collect()}
    assert shown == EXPORTED.keys()


def test_every_gauge_is_on_the_dashboard() -> None:
    drawn = {name for panel in panels() for target in panel["targets"] for name, _ in _METRIC.findall(target["expr"])}
    assert GAUGES.keys() - drawn <= {"bouncekit_budget_level"}


def test_panels_say_by_which_labels_they_draw_and_do_not_lie_upon_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        for target in panel["targets"]:
            by = {label.strip() for labels in _BY.findall(target["expr"]) for label in labels.split(",")}
            assert {*_LEGEND.findall(target["legendFormat"])} <= by
        place = panel["gridPos"]
        fields = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not fields & taken
        assert max(x for x, _ in fields) < 24
        taken |= fields


@needs_promtool
def test_the_rules_are_rules() -> None:
    done = run("promtool", "check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_alerts_come_when_they_should_and_not_before() -> None:
    done = run("promtool", "test", "rules", RULES_TEST)
    assert done.returncode == 0, done.stdout + done.stderr
    named = RULES_TEST.read_text("utf-8")
    assert [rule["alert"] for rule in rules() if rule["alert"] not in named] == []


@needs_promtool
def test_what_the_dashboard_asks_is_promql(tmp_path: Path) -> None:
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    records = [
        {"record": f"panel:{number}", "expr": one.replace("$__rate_interval", "5m")} for number, one in enumerate(asked)
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}), "utf-8")
    done = run("promtool", "check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def settings() -> dict[str, str]:
    lines = (line.partition("=") for line in UNIT.read_text("utf-8").splitlines() if line and line[0] not in "#[")
    return {key: value for key, _, value in lines}


def test_the_unit_leaves_a_worker_the_time_that_it_takes_to_stop() -> None:
    from bouncekit.cli.worker import _STOP_SECONDS

    assert settings()["TimeoutStopSec"] == "11min"
    assert (
        yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["worker"]["stop_grace_period"] == "11m"
    )
    assert _STOP_SECONDS <= 11 * 60


def test_the_unit_starts_what_there_is() -> None:
    program, *arguments = settings()["ExecStart"].split()
    assert Path(program).name == "bouncekit"
    done = run(PYTHON, "-m", "bouncekit", *arguments, "--help")
    assert done.returncode == 0, done.stderr


if shutil.which("systemd-analyze"):  # where there is no systemd, nobody needs a unit

    @pytest.fixture
    def unit(tmp_path: Path) -> Path:
        """The unit with a program that is here."""
        file = tmp_path / UNIT.name
        program = settings()["ExecStart"].split()[0]
        file.write_text(UNIT.read_text("utf-8").replace(program, f"{PYTHON} -m bouncekit"), "utf-8")
        return file

    def test_systemd_finds_no_fault_in_the_unit(unit: Path) -> None:
        done = run("systemd-analyze", "verify", unit)
        assert (done.returncode, done.stderr) == (0, "")

    def test_the_unit_is_hardened(unit: Path) -> None:
        done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit)
        assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_the_worker_of_the_compose_file_understands_its_settings(tmp_path: Path) -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    worker, (mounted,) = compose["services"]["worker"], compose["services"]["worker"]["configs"]
    known = {"${POSTGRES_PASSWORD:?}": "secret", "${RELAY:?}": "smtp://shop:secret@mail.example.com:587"}
    environ = {}
    for name, value in worker["environment"].items():
        for variable, text in known.items():
            value = value.replace(variable, text)
        assert "$" not in value
        environ[name] = value
    content = compose["configs"][mounted["source"]]["content"]
    assert Path(mounted["target"]).parent.as_posix() == worker["working_dir"]
    (tmp_path / Path(mounted["target"]).name).write_text(content, "utf-8")
    config = Config.read(tmp_path, environ).for_postmaster()
    assert config["store"] == "postgresql://bouncekit:secret@postgres/bouncekit"
    assert config["relays"] == {"main": "smtp://shop:secret@mail.example.com:587"}
    assert (config["retry"], config["worker"]) == ("queue", "external")
    port = tomllib.loads(content)["sinks"]["metrics"]["listen"].rpartition(":")[2]
    assert [one.rpartition(":")[2] for one in worker["ports"]] == [port]
    assert {*worker["depends_on"]} <= {*compose["services"]}
    assert {one.partition(":")[0] for one in compose["services"]["postgres"]["volumes"]} == {*compose["volumes"]}
