"""An agent to be killed: publishes `s-START`, `s-START+1`… and writes each number once publish has returned.

python -m tests.ecosystems.bus.publisher URL OUTBOX START
"""

import itertools
import sys

from ecosystems.bus import EventBus, Outbox
from ecosystems.bus.webhook import WebhookTransport
from tests.ecosystems.examples import a_signal


def main(url: str, outbox: str, start: str) -> None:
    bus = EventBus([WebhookTransport(url, "secret")], outbox=Outbox(outbox))
    for number in itertools.count(int(start)):
        bus.publish(a_signal(f"s-{number}"))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
