"""An answer to a request, whichever server sends it."""

from http import HTTPStatus

import msgspec
from django.http import HttpResponse


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Status, body and headers; what the hub adds to every answer is not in it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = {}

    def response(self) -> HttpResponse:
        # The length also where an answer does not pass through the middleware that would add it.
        headers = {**self.headers, "Content-Length": str(len(self.body))}
        return HttpResponse(
            self.body, status=HTTPStatus(self.status), content_type=self.content_type, headers=headers
        )
