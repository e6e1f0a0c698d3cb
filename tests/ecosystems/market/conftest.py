"""Where a live feed sends its requests."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import requests

from ecosystems.market.feeds import Feed, FeedOutage


@pytest.fixture
def requested_host(monkeypatch) -> Callable[[Feed, str], str]:
    """Return a function that gives the host of a feed's first request, which is not sent."""

    def host(feed: Feed, symbol: str) -> str:
        urls = []

        def send(_session, request, **_options):
            urls.append(request.url)
            raise requests.ConnectionError

        monkeypatch.setattr(requests.Session, "send", send)
        with pytest.raises(FeedOutage):
            list(feed.candles(symbol, "1h", None))
        return str(urlsplit(urls[0]).hostname)

    return host
