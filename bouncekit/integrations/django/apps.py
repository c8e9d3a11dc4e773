"""bouncekit as an application of a Django project: its checks, its place in the admin, its command."""

from django.apps import AppConfig

__all__ = ["BouncekitConfig"]


class BouncekitConfig(AppConfig):
    """Named `bouncekit`; it has no tables and makes no postmaster."""

    name = "bouncekit.integrations.django"
    label = "bouncekit"
    verbose_name = "Mail that bounces"
    default_auto_field = "django.db.models.BigAutoField"  # of no table, but Django's own check asks

    def ready(self) -> None:
        """Let Django's checks know ours."""
        from bouncekit.integrations.django import checks

        checks.register()
