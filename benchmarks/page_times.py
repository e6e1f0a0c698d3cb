"""Times the hub's own pages in this process: prints milliseconds for each name of one that it is sent."""

import itertools
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
TIMES = 20


def timed(act: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Return the median of TIMES calls after three that warm up, in milliseconds without `before`."""
    seconds = []
    for _ in range(TIMES + 3):
        before()
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return median(seconds[3:]) * 1000


def main(size: int) -> None:
    scope = Scope(payload=True)
    numbers = itertools.count()

    def page() -> None:
        # Pages all over the ledger, not one that stays in the cache.
        found = feed.read(scope, feed.NO_FILTERS, (next(numbers) * 7919 * PAGE) % (size - PAGE), PAGE)
        assert len(found.signals) == PAGE

    operator, _ = User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    browser = Client()
    browser.force_login(operator, backend="django.contrib.auth.backends.ModelBackend")

    def dashboard() -> bool:
        answer = browser.get(reverse("admin:index"), headers={"host": "localhost"})
        assert answer.status_code == 200
        return b"Loading the trading calendars" not in answer.content

    def record() -> None:
        answer = browser.get("/record/crypto/agent-0", headers={"host": "localhost"})
        assert answer.status_code == 200

    while not dashboard():  # its first seconds in a process are not what is asked for
        time.sleep(0.1)
    pages = {"feed": page, "dashboard": dashboard, "record": record}
    for name in sys.stdin:
        print(timed(pages[name.strip()]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
