"""Times proofs and checkpoints in this process: prints milliseconds for each of these words it is sent."""

import itertools
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection  # noqa: E402

from aggregator.transparency.proofs import signal_proof  # noqa: E402
from aggregator.transparency.sealer import Sealer  # noqa: E402
from benchmarks.log import LEDGER  # noqa: E402
from benchmarks.page_times import timed  # noqa: E402


def main(size: int) -> None:
    numbers, sealer = itertools.count(size + 1), Sealer()
    log = itertools.count()

    def proof() -> None:
        assert signal_proof(next(log) * 7919 % size + 1) is not None

    def checkpoint() -> None:
        assert sealer.run_once() == 1

    def record() -> None:
        number = next(numbers)
        with connection.cursor() as cursor:
            cursor.execute(LEDGER.format(first=number, last=number))

    for work in sys.stdin:
        acts = (proof,) if work.strip() == "proof" else (checkpoint, record)
        print(timed(*acts), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
