"""The receiver within the test's process, called as Django's test client calls the web server."""

import asyncio
import json

from django.http import HttpResponse


class Answered(HttpResponse):
    def json(self):
        return json.loads(self.content)


class ReceiverClient:
    """Speaks ASGI with the receiver, on an event loop of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def get(self, path):
        return self.generic("GET", path)

    def post(self, path, headers=()):
        return self.generic("POST", path, headers=headers)

    def generic(self, method, path, body=b"", content_type="", headers=(), **meta):
        """Send a request; `meta` is of WSGI's environment, as Django's client takes it."""
        sent = {"Host": "testserver", **dict(headers)}
        sent.setdefault("Content-Length", meta.get("CONTENT_LENGTH", str(len(body)) if body else ""))
        sent.setdefault("Content-Type", meta.get("CONTENT_TYPE", content_type))
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [
                (name.lower().encode(), value.encode("utf-8" if value == "٣" else "latin-1"))
                for name, value in sent.items()
                if value or name not in {"Content-Length", "Content-Type"}
            ],
            "client": (meta.get("REMOTE_ADDR", "127.0.0.1"), 4711),
            "scheme": "http",
        }
        messages = self.loop.run_until_complete(self._call(scope, body))
        start, *parts = messages
        answer = Answered(b"".join(part["body"] for part in parts), status=start["status"])
        del answer.headers["Content-Type"]
        for name, value in start["headers"]:
            answer.headers[name.decode()] = value.decode()
        return answer

    async def _call(self, scope, body):
        from aggregator.receiver import app  # once Django is set up

        messages = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            messages.append(message)

        await app(scope, receive, send)
        return messages
