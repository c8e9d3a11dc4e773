"""The table [web] of a configuration."""

from pathlib import Path

import pytest

from bouncekit.postmaster.config import Config
from bouncekit.web.access import hash_password
from bouncekit.web.settings import Settings
from bouncekit.words.errors import ConfigurationError

HASHED = hash_password("correct horse battery")


def test_hosts_secret_and_users_come_from_the_file_and_the_secret_from_a_variable(tmp_path: Path) -> None:
    (tmp_path / "bouncekit.toml").write_text(
        '[web]\nhosts = ["bounces.example.org"]\nsecret_env = "WEB"\n'
        f'[web.users.asha]\npassword = "{HASHED}"\nrole = "owner"\n'
    )
    config = Config.read(tmp_path, {"WEB": "a secret of enough bytes"})
    settings = Settings.of(config.web)
    assert settings.hosts == ("bounces.example.org",)
    assert settings.secret == "a secret of enough bytes"
    assert dict(settings.users) == {"asha": {"password": HASHED, "role": "owner"}}
    for shown in (repr(config), repr(settings)):
        assert HASHED not in shown
        assert "enough bytes" not in shown


def test_nothing_said_is_nobody_and_this_machine(tmp_path: Path) -> None:
    assert Settings.of(Config.read(tmp_path, {}).web) == Settings()


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"host": ["a"]}, "unknown key 'host'; did you mean 'hosts'"),
        ({"secret_env": "WEB"}, "the variable WEB is not set"),
        ({"hosts": "a"}, "a list of names"),
        ({"secret": 1}, "a secret in quotes"),
        ({"users": {"asha": {"password": "plain"}}}, "a hash is needed"),
    ],
)
def test_what_cannot_be_says_what_would_be_right(table: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Settings.of(table)
