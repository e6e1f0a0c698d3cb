"""Checks of the hub's public address and of the disk it runs on."""

import shutil
from pathlib import Path

import requests

from aggregator.health.checks import Check, Degraded, Failed, Status
from aggregator.health.redis_check import NOT_CONFIGURED

GIB = 1 << 30


class EndpointCheck(Check):
    """The hub can be reached under AGG_SIGNAL_ENDPOINT: a GET gets the webhook's 405.

    In the background, since a server of one thread cannot answer itself while a poll waits for it. Only
    degrades, because many networks do not let a server reach its own public address.
    """

    max_status = Status.DEGRADED
    in_background = True
    fresh_s = 30.0

    def __init__(self, url: str | None) -> None:
        super().__init__("endpoint")
        self.url = url

    def run(self) -> tuple[str, str] | None:
        if not self.url:
            return NOT_CONFIGURED, ""
        try:
            with requests.get(self.url, timeout=(1, 1), allow_redirects=False, stream=True) as response:
                status = response.status_code
                is_webhook = status == 405 and "POST" in response.headers.get("Allow", "")
        except requests.RequestException as error:
            raise Degraded("cannot be reached from here", type(error).__name__) from error
        if not is_webhook:
            raise Degraded("answers, but not as the webhook does", f"GET gave {status}, not 405")
        return None


class DiskCheck(Check):
    """There is room on the disk that the hub runs on."""

    def __init__(self, path: Path) -> None:
        super().__init__("disk")
        self.path = path

    def run(self) -> tuple[str, str]:
        usage = shutil.disk_usage(self.path)
        share = usage.free / usage.total
        detail = f"{usage.free / GIB:.1f} GiB free, {share:.0%}"
        if share < 0.02 or usage.free < GIB / 4:
            raise Failed("full", detail)
        if share < 0.1 and usage.free < 10 * GIB:
            raise Degraded("nearly full", detail)
        return "", detail
