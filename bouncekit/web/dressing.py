"""From a template and its values to a page."""

from collections.abc import Mapping
from typing import Any

from bouncekit.reports.dressing import environment
from bouncekit.web.sealing import Seal, of_tenant

__all__ = ["Dress"]

NAVIGATION = (
    ("/", "Overview"),
    ("/events", "Events"),
    ("/recipients", "Recipients"),
    ("/suppressions", "Suppressions"),
    ("/queue", "Queue"),
    ("/policy", "Policy"),
    ("/health", "Health"),
    ("/codes", "Codes"),
)


class Dress:
    """The templates, and how values look in them; see `bouncekit.reports.dressing`."""

    def __init__(self, seal: Seal) -> None:
        self._environment = environment("bouncekit.web")
        self._environment.filters |= {"seal": seal.close}
        self._environment.globals |= {"navigation": NAVIGATION, "of_tenant": of_tenant}

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """The page."""
        return self._environment.get_template(template).render(values)
