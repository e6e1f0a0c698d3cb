"""The tokens of hooks. A hook's URL is its secret: shown once, stored as a hash, rotated with an overlap."""

import re
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from aggregator.encryption import derive
from aggregator.models import Source
from aggregator.sources.redaction import TOKEN_PREFIX

HOOKS_PATH = "/api/hooks/"
TOKEN = re.compile(TOKEN_PREFIX + "[A-Za-z0-9_-]{43}")
OVERLAP = timedelta(hours=24)
"""How long the URL before a rotation works by default."""
USE_INTERVAL = timedelta(minutes=1)
"""The precision of a source's last use: one write a minute, not one a request."""
FRESH_S = 1.0
"""How long a process goes by what it has read of a source: a query a request would be a third of its cost."""
SIGNALS_SUFFIX = "/api/signals"


@dataclass(frozen=True)
class IssuedToken:
    """A new token of a source: shown once, never stored."""

    source: Source
    token: str

    def url(self, endpoint: str) -> str:
        """Return the hook's URL on the hub that takes signals at `endpoint`."""
        return f"{endpoint.rstrip('/').removesuffix(SIGNALS_SUFFIX)}{HOOKS_PATH}{self.token}"


def issue(source: Source) -> IssuedToken:
    """Save a new source; give it a token, unless it reads a stream."""
    token = _new_token()
    source.created_at = timezone.now()
    source.token_digest = None if source.stream else digest_of(token)
    source.save()
    return IssuedToken(source, token)


def rotate(source: Source, overlap: timedelta = OVERLAP) -> IssuedToken:
    """Give a source another token; the one before works for `overlap`.

    Of two rotations at once the second waits for the first: the row is locked.
    """
    token = _new_token()
    with transaction.atomic():
        row = Source.objects.select_for_update().get(pk=source.pk)
        now = timezone.now()
        row.previous_digest = row.token_digest if overlap else None
        row.previous_until = now + overlap if overlap else None
        row.token_digest = digest_of(token)
        row.rotated_at = now
        row.save(update_fields=["previous_digest", "previous_until", "token_digest", "rotated_at"])
    _found.clear()
    return IssuedToken(row, token)


def revoke(source: Source) -> None:
    """End a source, within FRESH_S in all processes. This can't be undone."""
    Source.objects.filter(pk=source.pk, revoked_at=None).update(revoked_at=timezone.now())
    _found.clear()


def find_source(token: str) -> Source | None:
    """Return the source of a token that works now; the time of a look-up by HMAC reveals nothing."""
    digest, now = digest_of(token), time.monotonic()
    source, until = _found.get(digest, (None, 0.0))
    if source is not None and now < until:
        return source
    valid = Q(token_digest=digest) | Q(previous_digest=digest, previous_until__gt=timezone.now())
    source = Source.objects.filter(valid, revoked_at=None).first()
    if source is None:
        _found.pop(digest, None)
    else:
        _found[digest] = (source, now + FRESH_S)
    return source


_found: dict[bytes, tuple[Source, float]] = {}
"""The sources of tokens that worked, and until when that need not be asked again."""


def digest_of(secret: str) -> bytes:
    """Return the HMAC-SHA256 of a secret, which is stored in its place."""
    return derive(b"source\0" + secret.encode())


def hub_endpoint() -> str:
    """Return the hub's URL for signals where no request says which host it has."""
    endpoint = settings.ENVIRONMENT.signal_endpoint or ""
    return endpoint if urlsplit(endpoint).netloc else f"http://localhost:8000{SIGNALS_SUFFIX}"


def _new_token() -> str:
    """Return a new token: 256 random bits, with a prefix that secret scanners and the logs' filter find."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def record_use(source: Source) -> None:
    """Note that the source's hook was used, to the minute."""
    now = timezone.now()
    if source.last_used_at is None or now - source.last_used_at > USE_INTERVAL:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_INTERVAL)
        Source.objects.filter(stale, pk=source.pk).update(last_used_at=now)
        source.last_used_at = now
