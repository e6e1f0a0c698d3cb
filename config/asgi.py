"""The ASGI application, for streams: `granian --interface asgi config.asgi:application`.

It answers everything else as well, but a process of its own keeps thousands of open streams away from the
threads that record signals.
"""

import os
from typing import Any

from django.core.asgi import get_asgi_application

from aggregator.postgres.pool import limit_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

hub = get_asgi_application()

from django.conf import settings  # noqa: E402

from aggregator.http.asgi import refuse_websocket  # noqa: E402
from commerce.streaming import sse  # noqa: E402
from commerce.streaming.broadcaster import MAX_DATABASE_THREADS  # noqa: E402

settings.ENVIRONMENT.announce_bus()
limit_connections(MAX_DATABASE_THREADS)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await sse.lifespan(receive, send)
    elif scope["type"] == "websocket":
        await refuse_websocket(receive, send)
    elif scope["type"] == "http" and scope["path"] == sse.PATH and scope["method"] != "OPTIONS":
        await sse.application(scope, receive, send)
    else:
        await hub(scope, receive, send)
