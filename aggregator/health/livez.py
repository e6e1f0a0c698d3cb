"""`GET /livez`: 200 as long as the process answers, whatever it depends on."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

LIVEZ_PATH = "/livez"


@sync_and_async_middleware
def livez(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Answer before any other middleware sees the request: load balancers and Kubernetes ask by an address
    that no ALLOWED_HOSTS lists.
    """
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> Any:
            return alive(request) if request.path == LIVEZ_PATH else await get_response(request)

        return answer_async

    def answer(request: HttpRequest) -> Any:
        return alive(request) if request.path == LIVEZ_PATH else get_response(request)

    return answer


def alive(_request: HttpRequest) -> HttpResponse:
    """Return the answer. Also a view, so that the address is known like any other."""
    return HttpResponse("ok", content_type="text/plain", headers={"Cache-Control": "no-store"})
