"""A check of the rows that an admin action is about, which Django itself crashes on."""

import re
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

ROW_ID = re.compile(r"[0-9]{1,18}")


class SelectionMiddleware(MiddlewareMixin):
    """Refuses an action on an id that no row can have, whichever model's."""

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        """Raise BadRequest."""
        match = request.resolver_match
        if request.method != "POST" or match is None or match.app_name != "admin":
            return
        if not all(map(ROW_ID.fullmatch, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise BadRequest("The id of a selected row is not a number.")
