"""The web page: what becomes of an application's mail, in a browser; by itself, or mounted in another application."""

from bouncekit.words.errors import MissingExtra

try:
    from bouncekit.web.site import application
except ImportError as error:
    raise MissingExtra("web", (error.name or "starlette").partition(".")[0], "web pages") from error
from bouncekit.web.access import Role, User, hash_password

__all__ = ["Role", "User", "application", "hash_password"]
