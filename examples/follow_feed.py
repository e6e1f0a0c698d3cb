#!/usr/bin/env python3
"""Follow the feed into a file, each signal exactly once, however often this program or the hub is killed.

    export SIGNAL_HUB_KEY=shk_…
    python follow_feed.py https://hub.example.com signals.jsonl

Needs `requests`. The file is all that is remembered: a signal and its cursor are one line of it, so they are
written together or not at all, and reading goes on behind the last whole line. Keep the cursor in the same
transaction as the signal if you write to a database instead.

A hub that was restored from a backup answers 410 to a cursor that it has not reached. Then everything is
read again from the start, and only what the file does not have is added.

What exists already is read page by page over REST; new signals come over the stream. Where the stream has
a URL of its own, as under `make run`, name it with `--stream`; where the plan or the operator offers
none, `--poll SECONDS` asks for pages instead.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import requests

TIMEOUT = (10, 60)
"""Seconds to connect, and between two bytes; the stream sends a keep-alive every 15."""
LONGEST_PAUSE = 60.0


class StartAgain(Exception):
    """The hub was restored to an earlier state, and has not reached the cursor."""


class Wait(Exception):
    """The hub asks to come back later."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the hub asks to come back in {seconds:.0f} s")
        self.seconds = seconds


def main() -> None:
    options = arguments()
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {os.environ['SIGNAL_HUB_KEY']}"
    with options.file.open("a+b") as file:
        cursor, seen = read_file(file)
        failures = 0
        while True:
            try:
                for step in follow(session, options, cursor):
                    (cursor, signal), failures = step, 0
                    if signal is not None and identity(signal) not in seen:
                        file.write(json.dumps(signal).encode() + b"\n")
                        file.flush()
                        seen.add(identity(signal))
                if options.once:
                    return
                pause = options.poll or 0.5
            except StartAgain as reason:
                log(str(reason))
                cursor, pause = None, 0.5
            except (Wait, requests.RequestException) as error:
                if options.once:
                    sys.exit(f"not read to the end: {error}")
                failures += 1
                pause = error.seconds if isinstance(error, Wait) else min(2.0**failures, LONGEST_PAUSE)
                log(f"{type(error).__name__}, again in {pause:.0f} s")
            time.sleep(pause)


def log(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("hub", help="where the hub is, as https://hub.example.com")
    parser.add_argument("file", type=Path, help="where the signals go, a JSON object a line")
    parser.add_argument("--stream", metavar="URL", help="the stream's URL, if not the hub's")
    parser.add_argument("--poll", type=float, metavar="SECONDS", help="ask so often instead of streaming")
    parser.add_argument(
        "--once", action="store_true", help="read to the end and stop; exits 1 if that is not reached"
    )
    return parser.parse_args()


def read_file(file: BinaryIO) -> tuple[str | None, set[int]]:
    """Return the cursor of the last whole line and which signals there are; cut off an unfinished line."""
    end, cursor, seen = 0, None, set[int]()
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            break
        end += len(line)
        signal = json.loads(line)
        cursor = signal["cursor"]
        seen.add(identity(signal))
    file.truncate(end)
    file.seek(end)
    return cursor, seen


def identity(signal: dict[str, Any]) -> int:
    """Return a short form of what identifies a signal, also where it was recorded anew after a restore."""
    return hash((signal["ecosystem"], signal["signal_id"]))


Step = tuple[str | None, dict[str, Any] | None]
"""Where to go on from, and a signal unless there was none."""


def follow(session: requests.Session, options: argparse.Namespace, cursor: str | None) -> Iterator[Step]:
    for step in pages(session, options.hub, cursor):
        cursor = step[0]
        yield step
    if options.poll is None and not options.once:
        yield from events(session, options.stream or options.hub, cursor)


def pages(session: requests.Session, hub: str, cursor: str | None) -> Iterator[Step]:
    """Read the feed to its present end."""
    has_more = True
    while has_more:
        query = {"limit": "500", **({"after": cursor} if cursor else {})}
        page = checked(session.get(f"{hub}/api/v1/signals", params=query, timeout=TIMEOUT)).json()
        for signal in page["signals"]:
            yield signal["cursor"], signal
        cursor, has_more = page["next"], page["has_more"]
        yield cursor, None


def events(session: requests.Session, hub: str, cursor: str | None) -> Iterator[Step]:
    """Read the stream until it ends."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": cursor} if cursor else {})}
    query = {"outcomes": "false"}  # each would count as a signal of the day
    url = f"{hub}/api/v1/stream"
    with session.get(url, params=query, headers=headers, stream=True, timeout=TIMEOUT) as response:
        checked(response)
        kind, data = "message", ""
        for line in lines(response):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                kind = value
            elif name == "data":
                data += value
            elif name == "id":
                cursor = value
            elif not line:
                if kind == "end":
                    problem = json.loads(data)
                    if problem["status"] == 410:
                        raise StartAgain(problem["detail"])
                    log(f"the stream ended: {problem['detail']}")
                    return
                yield cursor, json.loads(data) if kind == "signal" else None
                kind, data = "message", ""


def lines(response: requests.Response) -> Iterator[str]:
    """Yield the lines as they arrive; one that was cut off by the end is none."""
    rest = b""
    for chunk in response.iter_content(chunk_size=None):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in whole)


def checked(response: requests.Response) -> requests.Response:
    """Return a success. Raises Wait, StartAgain or HTTPError; ends the program if only its owner can help."""
    if response.status_code in {429, 503}:
        raise Wait(float(response.headers.get("Retry-After", 5)))
    if response.status_code == 410:
        raise StartAgain(response.json()["detail"])
    if response.status_code in {400, 401, 403, 421}:
        sys.exit(f"the hub refuses: {response.json()['detail']}")
    response.raise_for_status()
    return response


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
