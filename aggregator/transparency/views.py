"""`/log/`: the checkpoint, the tree's tiles and the entries (C2SP tlog-tiles), static and for everybody."""

import hashlib

import msgspec
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from aggregator.models import LogAnchor
from aggregator.transparency import log_tables, merkle, tiles
from aggregator.transparency.tiles import Tile, TilePath

FOR_EVER = "public, max-age=31536000, immutable"
FOR_A_DAY = "public, max-age=86400"
"""Of a partial tile, which never changes either, but is soon of no use."""
FOR_SECONDS = "public, max-age=5"
MAX_ANCHORS = 1000


@require_safe
def checkpoint(request: HttpRequest) -> HttpResponseBase:
    """Answer with the last checkpoint."""
    head = log_tables.head()
    if head is None:
        return _absent("No log is kept here.")
    return _static(request, head.checkpoint.encode(), "text/plain; charset=utf-8", FOR_SECONDS)


@require_safe
def anchors(request: HttpRequest) -> HttpResponseBase:
    """Answer with the last timestamps of checkpoints, the newest first."""
    rows = LogAnchor.objects.values("authority", "size", "stamped_at", "checkpoint", "response")
    body = msgspec.json.encode(list(rows.order_by("-pk")[:MAX_ANCHORS]))
    return _static(request, body, "application/json", FOR_SECONDS)


@gzip_page
@require_safe
def tile(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answer with a tile, or a bundle of entries, that the last checkpoint covers."""
    asked = tiles.parse_path(path)
    data = _covered(asked) if asked else None
    if asked is None or data is None:
        return _absent("No checkpoint covers this tile.")
    return _static(
        request, data, "application/octet-stream", FOR_EVER if asked.width == tiles.WIDTH else FOR_A_DAY
    )


def _covered(asked: TilePath) -> bytes | None:
    """Return what is asked for, None where the last checkpoint does not cover it."""
    level, head = asked.level or 0, log_tables.head()
    count = head.checkpoint_size >> tiles.HEIGHT * level if head else 0
    first = asked.number * tiles.WIDTH
    if first + asked.width > count:
        return None
    with connection.cursor() as cursor:
        if asked.level is None:
            bounds = {"first": first, "end": first + asked.width}
            entries = log_tables.leaves(cursor, "index >= %(first)s AND index < %(end)s", bounds)
            return tiles.entry_bundle(entry.data for entry in entries)
        known = log_tables.read_tiles(cursor, [Tile(level, asked.number)])
        return known[Tile(level, asked.number)][: asked.width * merkle.HASH_BYTES]


def _static(request: HttpRequest, body: bytes, content_type: str, cached: str) -> HttpResponseBase:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": cached}
    response = HttpResponse(body, content_type=content_type, headers=headers)
    return get_conditional_response(request, etag=etag, response=response) or response


def _absent(text: str) -> HttpResponse:
    return HttpResponse(
        f"{text}\n", status=404, content_type="text/plain", headers={"Cache-Control": "no-store"}
    )
