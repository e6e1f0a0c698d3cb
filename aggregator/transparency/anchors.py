"""Anchors: timestamps of checkpoints by authorities that are not the operator (RFC 3161).

They show that a checkpoint existed at a time, also to readers who kept none.
"""

import hashlib
import logging
import time
from urllib.parse import urlsplit

import requests
import urllib3
from django.conf import settings
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    decode_timestamp_response,
)

from aggregator.models import LogAnchor
from aggregator.postgres.pool import release_connections
from aggregator.transparency import log_tables

logger = logging.getLogger("signal_hub.log")

ANCHOR_TIMEOUT_S = 15.0
"""For a connection, and for the whole answer after that."""
MAX_RESPONSE_BYTES = 65_536


class NotStamped(Exception):
    """An authority gave no timestamp of what it was asked for; the text is a few words."""


def anchor_checkpoint() -> int:
    """Ask each authority for a timestamp of the last checkpoint; return how many gave one.

    One that has stamped this checkpoint already is not asked. One that fails is asked again an hour later.
    """
    head = log_tables.head()
    if head is None:
        return 0
    stamped = 0
    for url in settings.ENVIRONMENT.log_tsa_urls:
        authority = _without_password(url)
        if LogAnchor.objects.filter(authority=authority, checkpoint=head.checkpoint).exists():
            continue
        try:
            response = timestamp(url, head.checkpoint.encode())
        except NotStamped as error:
            logger.warning("no timestamp from %s: %s", authority, error)
            continue
        LogAnchor.objects.create(
            authority=authority,
            checkpoint=head.checkpoint,
            size=head.checkpoint_size,
            stamped_at=response.tst_info.gen_time,
            response=response.as_bytes(),
        )
        stamped += 1
    return stamped


def timestamp(url: str, data: bytes) -> TimeStampResponse:
    """Return an authority's timestamp of data. Raises NotStamped, also for one of other data."""
    request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA512).build()
    try:
        response = decode_timestamp_response(_ask(url, request.as_bytes()))
        granted = response.status in {PKIStatus.GRANTED, PKIStatus.GRANTED_WITH_MODS}
        if not granted:
            raise NotStamped(f"it answers with status {response.status}")
        found = response.tst_info
    except ValueError as error:
        raise NotStamped("its answer is not a timestamp") from error
    if found.message_imprint.message != hashlib.sha512(data).digest() or found.nonce != request.nonce:
        raise NotStamped("its timestamp is of something else")
    return response


def _ask(url: str, query: bytes) -> bytes:
    release_connections()  # an authority may take its time
    headers = {"Content-Type": "application/timestamp-query", "Accept-Encoding": "identity"}
    try:
        with requests.post(
            url, query, headers=headers, timeout=ANCHOR_TIMEOUT_S, allow_redirects=False, stream=True
        ) as answer:
            body, deadline = b"", time.monotonic() + ANCHOR_TIMEOUT_S
            while len(body) <= MAX_RESPONSE_BYTES and (part := answer.raw.read1(MAX_RESPONSE_BYTES)):
                body += part
                if time.monotonic() > deadline:
                    raise NotStamped("its answer takes too long")
            if answer.status_code != 200 or len(body) > MAX_RESPONSE_BYTES:
                raise NotStamped(f"HTTP status {answer.status_code}, {len(body)} bytes")
            return body
    # requests' own errors are OSErrors; from the raw answer come urllib3's.
    except (OSError, urllib3.exceptions.HTTPError) as error:
        raise NotStamped(type(error).__name__) from error


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
