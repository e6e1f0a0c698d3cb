"""Time the hub's own pages in this process and print medians in milliseconds: run by `benchmarks.pages`."""

import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402

from commerce import feed  # noqa: E402
from commerce.entitlements import Scope  # noqa: E402

PAGE = 500
TIMES = 40


def timed(act: Callable[[int], object]) -> float:
    """Return the median of TIMES calls after three that warm up; the argument tells the call's number."""
    seconds = []
    for number in range(TIMES + 3):
        started = time.perf_counter()
        act(number)
        seconds.append(time.perf_counter() - started)
    return median(seconds[3:]) * 1000


def main(size: int) -> None:
    scope = Scope(payload=True)

    def page(number: int) -> None:
        # Pages all over the ledger, not one that stays in the cache.
        found = feed.read(scope, feed.NO_FILTERS, (number * 7919 * PAGE) % (size - PAGE), PAGE)
        assert len(found.signals) == PAGE

    operator, _ = User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    browser = Client()
    browser.force_login(operator, backend="django.contrib.auth.backends.ModelBackend")

    def dashboard(_: int) -> None:
        assert browser.get(reverse("admin:index"), headers={"host": "localhost"}).status_code == 200

    print(json.dumps({"feed": timed(page), "dashboard": timed(dashboard)}))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
