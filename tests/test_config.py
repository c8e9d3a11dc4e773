"""Settings from the environment and from files: which one holds, and what is said about a wrong one."""

from datetime import timedelta
from pathlib import Path

import pytest

from bouncekit.postmaster.config import Config
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.words.errors import ConfigurationError

NOTHING: dict[str, str] = {}


def toml(folder: Path, text: str, name: str = "bouncekit.toml") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder


def test_without_any_setting_the_defaults_hold(tmp_path: Path) -> None:
    config = Config.read(tmp_path, NOTHING)
    assert (config.policy, config.store, config.retry) == ("default", None, "never")
    assert (config.patience, config.relay, config.on_store_failure) == (timedelta(minutes=5), None, "raise")
    assert config.channels == {}
    assert config.sources == {}


def test_the_environment_beats_bouncekit_toml_which_beats_pyproject(tmp_path: Path) -> None:
    toml(tmp_path, '[tool.bouncekit]\npolicy = "strict"\nretry = "wait"\npatience = 10\n', "pyproject.toml")
    toml(tmp_path, 'policy = "bulk"\nretry = "never"\n')
    config = Config.read(tmp_path, {"BOUNCEKIT_POLICY": "transactional"})
    assert (config.policy, config.retry, config.patience) == ("transactional", "never", timedelta(seconds=10))
    assert config.sources == {
        "policy": "BOUNCEKIT_POLICY",
        "retry": str(tmp_path / "bouncekit.toml"),
        "patience": f"{tmp_path / 'pyproject.toml'} [tool.bouncekit]",
    }


def test_a_pyproject_of_others_is_no_concern_of_ours(tmp_path: Path) -> None:
    toml(tmp_path, '[project]\nname = "shop"\n[tool.other]\npolicy = 1\n', "pyproject.toml")
    assert Config.read(tmp_path, NOTHING) == Config()


def test_the_process_s_own_folder_and_environment_are_read_unless_others_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toml(tmp_path, 'policy = "bulk"\n'))
    monkeypatch.setenv("BOUNCEKIT_RETRY", "wait")
    config = Config.read()
    assert (config.policy, config.retry) == ("bulk", "wait")


def test_an_empty_variable_sets_nothing(tmp_path: Path) -> None:
    assert Config.read(tmp_path, {"BOUNCEKIT_STORE": "", "BOUNCEKIT_CHANNEL_OWNER": ""}) == Config()


@pytest.mark.parametrize(
    ("written", "seconds"), [('"90s"', 90), ('"5m"', 300), ("30", 30), ("1.5", 1.5), ('"30"', 30), ('"2.5"', 2.5)]
)
def test_patience_is_a_duration_or_seconds(tmp_path: Path, written: str, seconds: float) -> None:
    assert Config.read(toml(tmp_path, f"patience = {written}"), NOTHING).patience.total_seconds() == seconds


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('policy = "mail.yaml"', "{}/mail.yaml"),
        ('policy = "/etc/mail.yaml"', "/etc/mail.yaml"),
        ('policy = "bulk"', "bulk"),
        ('store = "sqlite:///bounces.db"', "sqlite:///{}/bounces.db"),
        ('store = "sqlite:////var/bounces.db"', "sqlite:////var/bounces.db"),
        ('store = "sqlite:///:memory:"', "sqlite:///:memory:"),
        ('store = "postgresql://db/mail"', "postgresql://db/mail"),
    ],
)
def test_a_relative_path_belongs_to_the_file_that_it_stands_in(tmp_path: Path, written: str, read: str) -> None:
    config = Config.read(toml(tmp_path, written), NOTHING)
    assert read.format(tmp_path) in (config.policy, config.store)


def test_files_of_rules_are_a_list_and_belong_to_the_file_that_they_stand_in(tmp_path: Path) -> None:
    toml(tmp_path, 'rules = ["mine.toml", "/etc/more.toml"]\ncommunity_rules = ["theirs.toml"]\n')
    config = Config.read(tmp_path, NOTHING)
    assert config.rules == (f"{tmp_path}/mine.toml", "/etc/more.toml")
    assert config.for_postmaster()["community_rules"] == (f"{tmp_path}/theirs.toml",)
    config = Config.read(tmp_path, {"BOUNCEKIT_RULES": "a.toml, b.toml"})
    assert (config.rules, config.sources["rules"]) == (("a.toml", "b.toml"), "BOUNCEKIT_RULES")
    assert config.with_options(rules=("c.toml",)).rules == ("c.toml",)
    assert config.with_options(rules=()).rules == ("a.toml", "b.toml")


@pytest.mark.parametrize("written", ["rules = 1", "rules = []", "rules = [1]", 'rules = ""', 'rules = "a,"'])
def test_rules_that_are_no_list_of_files_are_told(tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigurationError, match=r"bouncekit\.toml: rules: a (list of files|text) in quotes is needed"):
        Config.read(toml(tmp_path, written), NOTHING)


def test_a_relative_path_of_the_environment_belongs_to_the_process(tmp_path: Path) -> None:
    config = Config.read(tmp_path, {"BOUNCEKIT_POLICY": "mail.yaml", "BOUNCEKIT_STORE": "sqlite:///b.db"})
    assert (config.policy, config.store) == ("mail.yaml", "sqlite:///b.db")


def test_channels_come_from_a_table_and_single_ones_from_the_environment(tmp_path: Path) -> None:
    toml(tmp_path, '[channels]\nowner = ["mailto:a@example.com", "json://hook"]\noperations = "json://ops"\n')
    config = Config.read(tmp_path, {"BOUNCEKIT_CHANNEL_OPERATIONS": "json://pager"})
    assert config.channels == {"owner": ("mailto:a@example.com", "json://hook"), "operations": "json://pager"}
    assert config.sources["channels.operations"] == "BOUNCEKIT_CHANNEL_OPERATIONS"
    assert config.for_postmaster()["channels"]["owner"] == ["mailto:a@example.com", "json://hook"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('polcy = "bulk"', "{}/bouncekit.toml: unknown key 'polcy'; did you mean 'policy'?"),
        ("colour = 1", "{}/bouncekit.toml: unknown key 'colour'"),
        ('retry = "wiat"', "{}/bouncekit.toml: retry: 'wiat' is none of never, wait, queue; did you mean 'wait'?"),
        ("policy = 1", "{}/bouncekit.toml: policy: a text in quotes is needed, not 1"),
        (
            '[relay]\nmain = "smtp://a"',
            "{}/bouncekit.toml: relay: a text in quotes is needed, not {{'main': 'smtp://a'}}; did you mean",
        ),
        ('store = ""', "{}/bouncekit.toml: store: a text in quotes is needed, not ''"),
        ('patience = "soon"', "{}/bouncekit.toml: patience: 'soon' is no duration; write a number and a unit: "),
        ("patience = true", "{}/bouncekit.toml: patience: True is no duration"),
        ("patience = -1", "{}/bouncekit.toml: patience: -1 is not between 0 and a hundred years"),
        ("patience = inf", "{}/bouncekit.toml: patience: inf is not between 0 and a hundred years"),
        ("patience = nan", "{}/bouncekit.toml: patience: "),
        ('patience = "999999999w"', "{}/bouncekit.toml: patience: '999999999w' is "),
        ('on_store_failure = "panic"', "{}/bouncekit.toml: on_store_failure: 'panic' is none of raise, send"),
        ("channels = 1", "{}/bouncekit.toml: channels: a table of name and URL is needed"),
        ("[channels]\nowner = 1", "{}/bouncekit.toml: channels.owner: a URL in quotes is needed, or a list of them"),
        ("[channels]\nowner = []", "{}/bouncekit.toml: channels.owner: a URL in quotes is needed, or a list of them"),
        ("policy = ", "{}/bouncekit.toml: no TOML: Invalid value (at "),
        ("a = " + "[" * 5000, "{}/bouncekit.toml: no TOML: "),
    ],
)
def test_a_wrong_file_is_named_with_what_would_be_right(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config.read(toml(tmp_path, text), NOTHING)
    assert str(caught.value).startswith(message.format(tmp_path))


def test_a_wrong_key_of_pyproject_is_named_with_its_section(tmp_path: Path) -> None:
    toml(tmp_path, "[tool.bouncekit]\nrelais = 1\n", "pyproject.toml")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml \[tool\.bouncekit\]: unknown key 'relais'"):
        Config.read(tmp_path, NOTHING)


def test_relays_come_from_a_table_and_from_variables_and_the_lone_relay_is_main(tmp_path: Path) -> None:
    toml(tmp_path, '[relays]\na = "smtp://a"\nb = {url = "smtp://jo:secret@b", timeout = 30}\n')
    config = Config.read(tmp_path, {"BOUNCEKIT_RELAY_A": "smtp://other"})
    assert config.for_postmaster()["relays"] == {"a": "smtp://other", "b": {"url": "smtp://jo:secret@b", "timeout": 30}}
    assert config.sources["relays.a"] == "BOUNCEKIT_RELAY_A"
    assert "secret" not in repr(config)
    alone = Config.read(tmp_path / "nowhere", {"BOUNCEKIT_RELAY": "smtp://lone"})
    assert alone.for_postmaster()["relays"] == {"main": "smtp://lone"}


@pytest.mark.parametrize("spec", ["1", "[]", "{timeout = 3}", '""'])
def test_a_relay_that_is_no_url_is_named_and_not_shown(tmp_path: Path, spec: str) -> None:
    toml(tmp_path, f"[relays]\nmain = {spec}\n")
    with pytest.raises(ConfigurationError, match=r"relays\.main: a URL in quotes"):
        Config.read(tmp_path, NOTHING)


@pytest.mark.parametrize("text", ["tool = 1", "[tool]\nbouncekit = 1"])
def test_a_section_that_is_no_table_is_an_error_or_nothing_of_ours(tmp_path: Path, text: str) -> None:
    toml(tmp_path, text, "pyproject.toml")
    if text == "tool = 1":
        assert Config.read(tmp_path, NOTHING) == Config()
    else:
        with pytest.raises(ConfigurationError, match="a table is needed"):
            Config.read(tmp_path, NOTHING)


def test_a_slip_of_the_pen_in_a_variable_is_an_error_and_a_foreign_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="BOUNCEKIT_POLCY'; did you mean 'BOUNCEKIT_POLICY'"):
        Config.read(tmp_path, {"BOUNCEKIT_POLCY": "bulk"})
    foreign = {"BOUNCEKIT_SMTP_PASSWORD": "x", "BOUNCEKIT_FOO": "x", "BOUNCEKIT_HOME": "/", "HOME": "/"}
    assert Config.read(tmp_path, foreign) == Config()


@pytest.mark.parametrize(
    ("content", "why"), [(b"policy = '\xff'", "not UTF-8 at byte 10"), (b"#" * 1_100_000, "larger than 1048576 bytes")]
)
def test_a_file_that_is_no_text_or_too_long_is_an_error(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "bouncekit.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=why):
        Config.read(tmp_path, NOTHING)


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bouncekit.toml").mkdir()
    with pytest.raises(ConfigurationError, match=r"bouncekit\.toml: "):
        Config.read(tmp_path, NOTHING)


def test_options_win_over_the_rest_and_none_is_no_option(tmp_path: Path) -> None:
    config = Config.read(toml(tmp_path, 'policy = "bulk"\nretry = "wait"\n'), NOTHING)
    given = config.with_options(policy="strict", retry=None, patience="2m")
    assert (given.policy, given.retry, given.patience) == ("strict", "wait", timedelta(minutes=2))
    assert given.sources["policy"] == "--policy"
    with pytest.raises(ConfigurationError, match="--patience: 'x' is no duration"):
        config.with_options(patience="x")


@pytest.mark.parametrize(
    ("cache", "store", "kept"),
    [
        ("redis://cache/0", "sqlite:///old.db", None),
        ("redis://cache/0", "postgresql://other/shop", "redis://cache/0"),
        ("redis://cache/0", None, "redis://cache/0"),
        ("local", "sqlite:///old.db", "local"),
    ],
)
def test_a_cache_that_machines_share_is_left_out_before_a_file_that_an_option_names(
    tmp_path: Path, cache: str, store: str | None, kept: str | None
) -> None:
    config = Config.read(toml(tmp_path, f'store = "postgresql://db/shop"\ncache = "{cache}"\n'), NOTHING)
    assert config.with_options(store=store).cache == kept


def test_secrets_are_in_no_repr_and_in_no_error(tmp_path: Path) -> None:
    config = Config.read(
        toml(tmp_path, 'relay = "smtp://jo:hunter2@relay"\n[channels]\nowner = "json://u:hunter2@hook"\n'), NOTHING
    )
    assert config.relay == "smtp://jo:hunter2@relay"
    assert "hunter2" not in repr(config)
    with pytest.raises(ConfigurationError) as caught:
        Config.read(toml(tmp_path, "[channels]\nowner = ['json://u:hunter2@hook', 1]\n"), NOTHING)
    assert "hunter2" not in str(caught.value)


def test_a_postmaster_from_the_configuration_has_its_policy_store_and_channels(tmp_path: Path) -> None:
    toml(tmp_path, 'policy = "bulk"\nretry = "wait"\npatience = 7\nstore = "sqlite:///b.db"\n[channels]\n')
    environ = {"BOUNCEKIT_CHANNEL_OWNER": "mailto:owner@example.com"}
    with Postmaster.from_config(tmp_path, environ) as postmaster:
        assert postmaster.policy.name == "bulk"
        assert (postmaster.office.retry, postmaster.office.patience) == ("wait", timedelta(seconds=7))
        assert list(postmaster.office.notices.channels) == ["owner"]
        assert (tmp_path / "b.db").exists()


def test_a_postmaster_of_its_own_reads_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toml(tmp_path, 'policy = "nowhere"\n'))
    monkeypatch.setenv("BOUNCEKIT_POLICY", "nowhere")
    with Postmaster() as postmaster:
        assert postmaster.policy.name == "default"
    with pytest.raises(ConfigurationError, match="no shipped policy 'nowhere'"):
        Postmaster.from_config()


def test_a_channel_that_the_policy_does_not_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="channel 'boss' is not one of the policy's channels"):
        Postmaster.from_config(tmp_path, {"BOUNCEKIT_CHANNEL_BOSS": "mailto:boss@example.com"})


def test_return_paths_are_signed_where_their_address_and_keys_are_set(tmp_path: Path) -> None:
    toml(
        tmp_path,
        'bounces = "bounce@example.org"\nbounce_keys = ["the new secret of some length", "the old secret of it"]\n',
    )
    config = Config.read(tmp_path, NOTHING)
    assert config.bounce_keys == ("the new secret of some length", "the old secret of it")
    environ = {"BOUNCEKIT_BOUNCES": "back@example.org", "BOUNCEKIT_BOUNCE_KEYS": "0123456789abcdef, fedcba9876543210"}
    with Postmaster.from_config(tmp_path, environ) as postmaster:
        paths = postmaster.office.return_paths
    assert paths is not None
    assert (paths.address, paths.keys) == ("back@example.org", (b"0123456789abcdef", b"fedcba9876543210"))


@pytest.mark.parametrize("written", ["[]", "7", '["hunter2", 7]', '["hunter2", ""]', '"hunter2,"', "{ a = 'hunter2' }"])
def test_secrets_of_the_intake_are_shown_by_no_error(tmp_path: Path, written: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"bounce_keys: a (list of secrets|secret) in quotes is needed"
    ) as caught:
        Config.read(toml(tmp_path, f"bounce_keys = {written}\n"), NOTHING)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="mailbox_password: a secret in quotes is needed"):
        Config.read(toml(tmp_path, "mailbox_password = ['hunter2']\n"), NOTHING)


def test_secrets_of_the_intake_are_in_no_repr(tmp_path: Path) -> None:
    lines = 'bounce_keys = "hunter2"\nmailbox = "imaps://jo:hunter2@imap"\nmailbox_password = "hunter2"\n'
    config = Config.read(toml(tmp_path, lines), NOTHING)
    assert (config.bounce_keys, config.mailbox_password) == (("hunter2",), "hunter2")
    assert "hunter2" not in repr(config)
