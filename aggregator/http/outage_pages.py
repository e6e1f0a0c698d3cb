"""The pages that are answered while the core database is away."""

import logging
import sys
from functools import cache

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.views import defaults

from aggregator.background import BackgroundValue
from aggregator.http.problems import RETRY_AFTER_S, unavailable
from aggregator.ledger.errors import is_outage

logger = logging.getLogger("signal_hub.api")

ANSWER_FRESH_S = 1.0
"""For how long it is believed that the database answers. What begins to hang within it goes unnoticed."""
ANSWER_TIMEOUT_S = 2.5


def _answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


# Asked over a connection of its own: one that is open has no limit to how long it waits.
_database_answers = BackgroundValue(_answers, fresh_s=ANSWER_FRESH_S, timeout_s=ANSWER_TIMEOUT_S)


@cache
def _admin_path() -> str:
    return reverse("admin:index")  # a fifth of the time of a request to the webhook


class OutageMiddleware(MiddlewareMixin):
    """Answers 503 in place of the operator's pages, which would crash, or hang with a server that hangs."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        is_admin = request.path.startswith(_admin_path())
        # The sign-in page needs no database where there is no session.
        needs_database = request.method != "GET" or settings.SESSION_COOKIE_NAME in request.COOKIES
        if is_admin and needs_database and not _database_answers.latest():
            return outage_page(request)
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return outage_response(request, error)


def outage_response(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    """Return the 503 for a request that this error interrupted; None where it is no outage."""
    if error is None or not is_outage(error):
        return None
    logger.warning("answering 503: %s", type(error).__name__)
    if request.path.startswith("/api/"):
        return unavailable("The database cannot take it now; send it again later.").response()
    return outage_page(request)


def outage_page(request: HttpRequest) -> HttpResponse:
    """Return the page that reports the outage, without a user: sessions are in the database."""
    anonymous = HttpRequest()
    anonymous.method, anonymous.META = "GET", request.META
    anonymous.path = anonymous.path_info = request.path
    anonymous.user = AnonymousUser()
    context = admin.site.each_context(anonymous)
    response = render(anonymous, "503.html", context, status=503)
    response["Retry-After"], response["Cache-Control"] = str(RETRY_AFTER_S), "no-store"
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the answer to what crashed outside of any view, such as the session (a `handler500`)."""
    return outage_response(request, sys.exc_info()[1]) or defaults.server_error(request)
