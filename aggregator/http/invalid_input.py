"""What a request names that no row can have, on which a view, or Django itself, would crash."""

import re
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, QueryDict
from django.utils.deprecation import MiddlewareMixin

ROW_ID = re.compile(r"[0-9]{1,18}")


class InvalidInputMiddleware(MiddlewareMixin):
    """Keeps from the views what Postgres does not take: text with a NUL, and ids that are no number."""

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        """Raise Http404 or BadRequest, or take the NULs out of the query of one of the admin's pages."""
        # A hook looks up a hash, and answers as the receiver does.
        if "\0" in request.path_info and not request.path_info.startswith("/api/hooks/"):
            raise Http404
        match = request.resolver_match
        if match is None or match.app_name != "admin":
            return  # other pages look up nothing that a query names as it is
        if not ROW_ID.fullmatch(match.kwargs.get("object_id", "0")):
            raise Http404
        if "%00" in (query := request.GET.urlencode()):
            request.GET = QueryDict(query.replace("%00", ""))
        if not all(map(ROW_ID.fullmatch, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise BadRequest("The id of a selected row is not a number.")
