"""The page behind the link in each mail with a signal, also for a mail program's own button (RFC 8058)."""

from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from commerce.models import Endpoint
from commerce.pages import context
from commerce.webhooks.chats import UNSUBSCRIBE_SALT


# A mail program posts to it without a cookie; the token alone permits it.
@csrf_exempt
@never_cache
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Ask for confirmation, because mail scanners open links; a POST disables the endpoint."""
    try:
        public_id = signing.loads(token, salt=UNSUBSCRIBE_SALT)
    except signing.BadSignature:
        raise Http404 from None
    endpoint = get_object_or_404(Endpoint, public_id=public_id)
    if request.method == "POST":
        # Its customer can resume it.
        Endpoint.objects.filter(pk=endpoint.pk, state=Endpoint.State.ACTIVE).update(
            state=Endpoint.State.DISABLED,
            reason="Unsubscribed by the link in an e-mail.",
            state_at=timezone.now(),
        )
    page = context.page_context(request, "Unsubscribe", endpoint=endpoint, is_done=request.method == "POST")
    return render(request, "commerce/pages/unsubscribe.html", page)
