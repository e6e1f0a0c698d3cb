"""What a page answers while the core database is away."""

import logging
import sys
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.db import Error, connection, connections
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.views import defaults

from aggregator.background import DAEMONS
from aggregator.http.problems import RETRY_AFTER_S, unavailable
from aggregator.ledger.errors import is_outage

logger = logging.getLogger("signal_hub.api")


FRESH_S = 1.0
"""For how long it is believed that the database answers."""
PATIENCE_S = 2.5
HOPE_S = 0.3
"""How long is waited for one that did not answer before."""


class Gate:
    """Whether the database answers, for all threads of this process.

    It is asked over a connection of its own, in a thread: one that is open has no limit to how long it waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: Future[bool] | None = None
        self._at = 0.0
        self._down = False

    def is_down(self) -> bool:
        """Say whether it is, within PATIENCE_S. What begins to hang within FRESH_S goes unnoticed."""
        with self._lock:
            if self._asked is None or (self._asked.done() and time.monotonic() - self._at > FRESH_S):
                self._asked, self._at = DAEMONS.submit(_answers), time.monotonic()
            asked = self._asked
        try:
            self._down = not asked.result(HOPE_S if self._down else PATIENCE_S)
        except NotYet:
            self._down = True
        return self._down


def _answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    finally:
        connections.close_all()  # this thread's own; it ends here
    return True


_gate = Gate()


class OutageMiddleware(MiddlewareMixin):
    """Answers 503 in place of the operator's pages, which would crash, or hang with a server that hangs."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        is_ours = request.path.startswith(reverse("admin:index"))
        # A stranger's look at the sign-in page takes no database.
        asks = request.method != "GET" or settings.SESSION_COOKIE_NAME in request.COOKIES
        return page(request) if is_ours and asks and _gate.is_down() else None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return answer(request, error)


def answer(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    """Return the answer to a request that this error broke off; None where it is no outage."""
    if error is None or not is_outage(error):
        return None
    logger.warning("answering 503: %s", type(error).__name__)
    if request.path.startswith("/api/"):
        return unavailable("The database cannot take it now; send it again later.").response()
    return page(request)


def page(request: HttpRequest) -> HttpResponse:
    """Return the page that says so. It knows nobody: who is signed in stands in the database."""
    nobody = HttpRequest()
    nobody.method, nobody.META = "GET", request.META
    nobody.path = nobody.path_info = request.path
    nobody.user = AnonymousUser()
    context = admin.site.each_context(nobody)
    response = render(nobody, "503.html", context, status=503)
    response["Retry-After"], response["Cache-Control"] = str(RETRY_AFTER_S), "no-store"
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer what crashed outside of any view, such as the session (a `handler500`)."""
    return answer(request, sys.exc_info()[1]) or defaults.server_error(request)
