"""The status of one's own address as a view, where Django's login says whose it is: no token is needed.

path("mail-status/", bouncekit.integrations.django.views.mail_status)
"""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from bouncekit.integrations.banner import language_of
from bouncekit.integrations.django.project import postmaster
from bouncekit.words.errors import AddressError, StoreError

__all__ = ["mail_status"]


@never_cache
@require_GET
def mail_status(request: HttpRequest) -> HttpResponse:
    """How mail to the user who is logged in fares, as JSON, in the language of the page; 403 to anybody else."""
    address = getattr(request.user, "email", "") if request.user.is_authenticated else ""
    if not address:
        return JsonResponse({"error": "log in"}, status=403)
    try:
        news = postmaster().status(address, lang=language_of(get_language() or ""))
    except AddressError:
        return JsonResponse({"error": "log in"}, status=403)
    except StoreError:
        return JsonResponse({"error": "not known now"}, status=503)
    return JsonResponse(news.to_dict())
