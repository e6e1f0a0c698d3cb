"""The ASGI application, for streams: `granian --interface asgi config.asgi:application`.

It answers everything else as the web server does, but a process of its own keeps thousands of open streams
away from the threads that record signals.
"""

from config import web

# The others only now, since that sets Django up.
# isort: split
from aggregator.http.asgi import Receive, Scope, Send
from aggregator.postgres.pool import limit_connections
from commerce.streaming import sse
from commerce.streaming.broadcaster import MAX_DATABASE_THREADS

limit_connections(MAX_DATABASE_THREADS)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" and scope["path"] == sse.PATH and scope["method"] != "OPTIONS":
        await sse.application(scope, receive, send)
        return
    if scope["type"] == "lifespan":
        sse.end_on_signals()
    await web.application(scope, receive, send)
