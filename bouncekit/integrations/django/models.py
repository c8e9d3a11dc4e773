"""What Django's admin and permissions want a name for; there is no table behind it, and no migration."""

from django.db import models

__all__ = ["Suppression"]


class Suppression(models.Model):
    """A suppression of the postmaster's store, which is no row of this database: `bouncekit.Suppression` is the value.

    Who may view, add and delete it may look at the list, suppress, and lift.
    """

    class Meta:
        managed = False
        default_permissions = ("add", "delete", "view")
        verbose_name = "suppression"
