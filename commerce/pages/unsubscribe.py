"""The page behind the link in each mail with a signal."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from commerce.pages import context
from commerce.webhooks import unsubscribing


# A mail program posts to it without a cookie; the token alone permits it.
@csrf_exempt
@never_cache
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Ask for confirmation, because mail scanners open links; a POST ends the e-mails."""
    endpoint = unsubscribing.endpoint_of(token)
    if endpoint is None:
        raise Http404
    if request.method == "POST":
        unsubscribing.stop_mails(endpoint)
    page = context.page_context(request, "Unsubscribe", endpoint=endpoint, is_done=request.method == "POST")
    return render(request, "commerce/pages/unsubscribe.html", page)
