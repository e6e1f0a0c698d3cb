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


class _ForPages:
    """Passes requests to the API by."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(API_PREFIXES):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class PageSessions(_ForPages, SessionMiddleware):
    pass


class PageAuthentication(_ForPages, AuthenticationMiddleware):
    pass


class PageMessages(_ForPages, MessageMiddleware):
    pass


class PageContentPolicy(_ForPages, CSPMiddleware):
    pass
