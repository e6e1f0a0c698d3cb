"""Middleware for sessions, sign-in, messages and what a page may load, for pages alone.

Requests to the API have keys and signatures and none of these, which cost such a request as much time as its
own view. Django's own protection of forms, which its checks look for, costs next to nothing.
"""

from typing import Any

from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest

API_PREFIXES = ("/api/signals", "/api/hooks/", "/api/v1/")
"""Not `/api/docs/`, which is a page."""


def _for_pages(middleware: Any) -> Any:
    """Return a middleware that passes requests to the API by."""

    class ForPages(middleware):  # type: ignore[misc]
        def __call__(self, request: HttpRequest) -> Any:
            if request.path_info.startswith(API_PREFIXES):
                return self.get_response(request)
            return super().__call__(request)

    return ForPages


PageSessions = _for_pages(SessionMiddleware)
PageAuthentication = _for_pages(AuthenticationMiddleware)
PageMessages = _for_pages(MessageMiddleware)
PageContentPolicy = _for_pages(CSPMiddleware)
