"""Sinks as an owner writes them: objects, URLs, tables, and kinds that another distribution brings."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery.events import EventType, Told
from bouncekit.postmaster.config import Config
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.sinks import Sink, open_sinks
from bouncekit.sinks.opening import KINDS
from bouncekit.words.errors import ConfigurationError, MissingExtra

ROOT = Path(__file__).parents[2]


class Own(Sink):
    kind = "own"

    def send(self, events: Sequence[Told]) -> None:
        raise NotImplementedError


def test_a_list_has_sinks_and_tables_and_a_mapping_names_them(tmp_path: Path) -> None:
    table = {"kind": "jsonlines", "target": str(tmp_path / "e.jsonl"), "types": ["failed", "complained"]}
    (one,) = open_sinks({"files": table})
    assert (one.name, one.types, one.begin) == ("files", {"failed", "complained"}, "oldest")
    first, second = open_sinks([Own(name="a"), {**table, "name": "b"}])
    assert (first.name, second.name) == ("a", "b")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_class_of_that_kind(kind: str) -> None:
    import bouncekit.sinks

    maker = getattr(bouncekit.sinks, KINDS[kind][1])
    assert maker.kind == kind
    assert issubclass(maker, Sink)
    assert KINDS[kind][1] in bouncekit.sinks.__all__


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("https://crm.example.com/", "write sinks="),
        ([7], "int is no sink"),
        ([{}], "say of what kind"),
        ([{"url": "pigeon://x"}], "say of what kind"),
        ([{"kind": "pigeon"}], "no kind 'pigeon'; one of jsonlines, webhook"),
        ([{"kind": "jsonlines"}], "missing a required argument: 'target'"),
        ([{"kind": "jsonlines", "target": "e.jsonl", "max_byte": 1}], "max_byte"),
        (
            [{"kind": "webhook", "url": "https://x.example", "secret_env": "NO"}],
            "no such variable in the environment: 'NO'",
        ),
        ({"a": Own()}, "it calls itself 'own'"),
        ([Own(), Own()], "'own' is the name of two"),
    ],
)
def test_what_is_none_is_said_with_what_would_be_right(given: Any, says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_sinks(given)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "CRM"}, "small letters"),
        ({"name": ""}, "small letters"),
        ({"name": "a\n"}, "small letters"),
        ({"name": "x" * 65}, "small letters"),
        ({"types": ["bounced"]}, "no event type 'bounced'"),
        ({"begin": "now"}, "write 'oldest' or 'newest'"),
    ],
)
def test_a_sink_says_what_it_cannot_be(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Own(**settings)


def test_one_type_may_be_written_as_a_text_and_as_a_member() -> None:
    assert Own(types="failed").types == Own(types=[EventType.FAILED]).types == {"failed"}


def test_a_missing_library_names_the_extra() -> None:
    """In a process in which none of them can be imported."""
    code = (
        "import sys\n"
        "names = 'urllib3 standardwebhooks redis kombu confluent_kafka opentelemetry prometheus_client'\n"
        "sys.modules.update(dict.fromkeys(names.split()))\n"
        "from bouncekit.sinks import open_sinks\n"
        "for table in ({'url': 'https://x.example', 'secret': 's'}, {'url': 'redis://x'}, {'url': 'amqp://x'},\n"
        "              {'url': 'kafka://x'}, {'kind': 'otel'}, {'kind': 'prometheus'}):\n"
        "    try:\n        open_sinks([table])\n"
        "    except ImportError as error:\n        print(error.extra)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["webhook", "redis", "events", "kafka", "otel", "prometheus"]
    assert issubclass(MissingExtra, ImportError)


def test_no_library_is_loaded_for_a_postmaster_without_sinks() -> None:
    code = "import sys, bouncekit; bouncekit.Postmaster().close(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = done.stdout.split()
    libraries = ("urllib3", "standardwebhooks", "redis", "kombu", "confluent_kafka", "opentelemetry")
    assert [name for name in libraries if name in loaded] == []


# -- other people's


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with an entry point, as pip would leave it."""
    (tmp_path / "pigeons.py").write_text(
        "from bouncekit.sinks import Sink\n"
        "class Pigeon(Sink):\n"
        "    kind = 'pigeon'\n"
        "    def __init__(self, loft, **settings):\n        super().__init__(**settings)\n        self.loft = loft\n"
        "    def send(self, events):\n        pass\n"
        "def no_sink():\n    return 7\n"
    )
    about = tmp_path / "pigeons-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[bouncekit.sinks]\npigeon = pigeons:Pigeon\nlost = pigeons:Lost\nseven = pigeons:no_sink\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_a_kind_of_another_distribution_is_found_by_its_entry_point() -> None:
    (sink,) = open_sinks({"north": {"kind": "pigeon", "loft": "roof", "types": ["failed"]}})
    assert (sink.name, sink.kind, sink.loft) == ("north", "pigeon", "roof")  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match=r"no kind 'crow'; one of .*, lost, pigeon, seven"):
        open_sinks([{"kind": "crow"}])
    with pytest.raises(ConfigurationError, match="pigeons:Lost"):
        open_sinks([{"kind": "lost"}])
    with pytest.raises(ConfigurationError, match=r"makes a int, and no bouncekit\.sinks\.Sink"):
        open_sinks([{"kind": "seven"}])


# -- the configuration


TOML = """
[sinks.crm]
url = "https://crm.example.com/hook/t0ken"
secret_env = "CRM_SECRET"
types = ["failed"]

[sinks.files]
kind = "jsonlines"
target = "events.jsonl"
"""


def test_a_table_names_variables_that_hold_secrets_and_files_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "bouncekit.toml").write_text(TOML)
    config = Config.read(tmp_path, {"CRM_SECRET": "canary"})
    assert config.sinks["crm"]["secret"] == "canary"
    assert config.sinks["files"]["target"] == str(tmp_path / "events.jsonl")
    assert "canary" not in repr(config)
    assert "t0ken" not in repr(config)
    assert config.sources["sinks.crm"] == str(tmp_path / "bouncekit.toml")
    assert Config.read(tmp_path, {}).sinks["crm"]["secret_env"] == "CRM_SECRET", "who needs it says that it is missing"


def test_a_sink_of_the_configuration_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "bouncekit.toml").write_text('[sinks]\ncrm = "https://crm.example.com/"\n')
    with pytest.raises(ConfigurationError, match=r"sinks\.crm: a table is needed"):
        Config.read(tmp_path, {})


def test_no_variable_passes_for_a_sink(tmp_path: Path) -> None:
    assert Config.read(tmp_path, {"BOUNCEKIT_SINK_CRM_SECRET": "canary"}).sinks == {}


def test_a_postmaster_of_the_configuration_has_its_sinks(tmp_path: Path) -> None:
    (tmp_path / "bouncekit.toml").write_text(TOML.partition("[sinks.files]")[1] + TOML.partition("[sinks.files]")[2])
    with Postmaster.from_config(tmp_path, {}) as postmaster:
        assert [sink.name for sink in postmaster.forwarding.sinks] == ["files"]
