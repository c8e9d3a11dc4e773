"""The suppression list in Django's admin: look, search, add, lift. It is read from the postmaster's store each time.

Django's own log of changes is left alone: it would keep addresses that `postmaster.forget` cannot find. Ours has them,
with the user's name.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.signing import BadSignature, Signer
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from bouncekit.integrations.django.models import Suppression
from bouncekit.integrations.django.project import postmaster
from bouncekit.policy.suppression import Suppression as Suppressed
from bouncekit.words.errors import AddressError

__all__ = ["SuppressionAdmin"]

_SHOWN = 200  # more than this nobody reads; a search finds the others
_EVENTS = 100
_TEMPLATES = "admin/bouncekit/suppression"


class AddForm(forms.Form):
    """An address that is not to be written to."""

    address = forms.CharField(max_length=320)
    reason = forms.CharField(max_length=500, required=False, help_text="Kept with it, for whoever asks why.")
    days = forms.IntegerField(min_value=1, max_value=36_500, required=False, help_text="Empty: for good.")
    tenant = forms.CharField(max_length=200, required=False)
    stream = forms.CharField(max_length=200, required=False)


@admin.register(Suppression)
class SuppressionAdmin(admin.ModelAdmin):
    """The list, by the permissions of `Suppression`; no query goes to Django's database."""

    def get_urls(self) -> list[Any]:
        """The list, a form to add, and a page for each."""
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name="bouncekit_suppression_changelist"),
            path("add/", view(self.add_view), name="bouncekit_suppression_add"),
            path("<str:place>/", view(self.place_view), name="bouncekit_suppression_change"),
        ]

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """A suppression is added and lifted, never rewritten."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> HttpResponse:
        """The list, or those with a text in their address."""
        self._need(self.has_view_permission(request))
        containing, binding = request.GET.get("q", "")[:320].strip(), "binding" in request.GET
        tenant = request.GET.get("tenant", "")[:200]
        found = postmaster().suppressions.find(tenant=tenant, containing=containing or None, binding=binding)
        rows = list(islice(found, _SHOWN + 1))
        context = {
            "rows": [{"suppression": one, "place": _place(one) if one.address else None} for one in rows[:_SHOWN]],
            "has_more": len(rows) > _SHOWN,
            "shown": _SHOWN,
            "containing": containing,
            "binding": binding,
            "tenant": tenant,
            "has_add_permission": self.has_add_permission(request),
        }
        return self._page(request, "change_list.html", "Suppressions", {**context, **(extra_context or {})})

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form; a POST suppresses."""
        self._need(self.has_add_permission(request))
        form = AddForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data
            try:
                added = postmaster().suppressions.add(
                    given["address"].strip(),
                    reason=given["reason"],
                    lasts=timedelta(days=given["days"]) if given["days"] else None,
                    tenant=given["tenant"],
                    stream=given["stream"],
                    by=_by(request),
                )
            except AddressError as error:
                form.add_error("address", error.why)
            else:
                messages.success(request, f"{added.address} is suppressed.")
                return _to_list()
        return self._page(request, "add_form.html", "Suppress an address", {"form": form})

    def place_view(self, request: HttpRequest, place: str) -> HttpResponse:
        """One suppression, its evidence, and what happened to the address; a POST lifts it."""
        self._need(self.has_view_permission(request))
        address, tenant, stream = _at(place)
        suppressions = postmaster().suppressions
        found = suppressions.get(address, tenant=tenant, stream=stream)
        if request.method == "POST":
            self._need(self.has_delete_permission(request))
            if suppressions.lift(address, by=_by(request), tenant=tenant, stream=stream) is None:
                messages.warning(request, f"{address} was not suppressed any more.")
            else:
                messages.success(request, f"{address} is no longer suppressed.")
            return _to_list()
        if found is None:
            raise Http404("no such suppression")
        context = {
            "suppression": found,
            "events": list(postmaster().why(address, tenant=tenant, limit=_EVENTS)),
            "changes": suppressions.changes(address, tenant=tenant, limit=_EVENTS),
            "has_delete_permission": self.has_delete_permission(request),
        }
        return self._page(request, "change_form.html", address, context)

    def _page(self, request: HttpRequest, template: str, title: str, context: Mapping[str, Any]) -> HttpResponse:
        whole = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, **context}
        return TemplateResponse(request, f"{_TEMPLATES}/{template}", whole)

    def _need(self, is_allowed: bool) -> None:
        if not is_allowed:
            raise PermissionDenied


def _by(request: HttpRequest) -> str:
    """Who does it, for the record."""
    return f"{request.user.get_username()} (admin)"


def _to_list() -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:bouncekit_suppression_changelist"))


_signer = Signer(salt="bouncekit.suppression")


def _place(one: Suppressed) -> str:
    """An address with tenant and stream, for a URL."""
    place: str = _signer.sign_object([one.address, one.tenant, one.stream])
    return place


def _at(place: str) -> Sequence[str]:
    try:
        found: Sequence[str] = _signer.unsign_object(place)
    except BadSignature:
        raise Http404("no such suppression") from None
    return found
