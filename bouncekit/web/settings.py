"""What a configuration says of the page: its names, its secret, who may log in.

[web]
hosts = ["bounces.example.org"]
secret_env = "WEB_SECRET"           # a variable that holds 16 bytes or more
[web.users.asha]
password = "scrypt:14:8:1:..."      # bouncekit serve --hash-password
role = "owner"                      # or "reader", the default
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from bouncekit.web.access import open_users
from bouncekit.words.errors import ConfigurationError

__all__ = ["Settings"]

_KEYS = ("hosts", "secret", "users")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The table `[web]`. What may hold secrets is in no repr."""

    hosts: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)
    users: Mapping[str, object] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, table: Mapping[str, object]) -> "Settings":
        """The settings of a table.

        Raises:
            ConfigurationError: a key that is none, or a value that cannot be; it says which.
        """
        for key in table:
            if key not in _KEYS:
                if key.endswith("_env"):
                    raise ConfigurationError(f"web.{key}: the variable {table[key]} is not set")
                close = get_close_matches(key, _KEYS, n=1)
                meant = f"; did you mean {close[0]!r}?" if close else f"; one of {', '.join(_KEYS)}"
                raise ConfigurationError(f"web: unknown key {ascii(key)[:60]}{meant}")
        hosts, secret, users = table.get("hosts", []), table.get("secret"), table.get("users", {})
        if not isinstance(hosts, list) or not all(isinstance(host, str) and host for host in hosts):
            raise ConfigurationError("web.hosts: a list of names in quotes is needed, such as ['bounces.example.org']")
        if secret is not None and not isinstance(secret, str):
            raise ConfigurationError("web.secret: a secret in quotes is needed")
        open_users(users)
        assert isinstance(users, Mapping)
        return cls(hosts=tuple(hosts), secret=secret, users=users)
