"""The state of the log, for an operator."""

from django.db import connection
from django.utils import timezone

from aggregator.ledger.errors import classified
from aggregator.models import LogAnchor
from aggregator.transparency import log_tables
from aggregator.transparency.log_directory import CannotSeal, LogDirectory
from aggregator.transparency.notes import VerifierKey


def lines(directory: LogDirectory) -> list[str]:
    """Return lines of a name and a value each. Raises CannotSeal without a log, and Outage."""
    with classified(), connection.cursor() as cursor:
        head = log_tables.head()
        if head is None:
            raise CannotSeal("no log is kept", "to keep one: manage.py transparency init")
        waiting = log_tables.waiting(cursor).total_seconds()
        last = LogAnchor.objects.order_by("authority", "-stamped_at").distinct("authority")
        anchors = list(last.values_list("authority", "size", "stamped_at"))
    age = (timezone.now() - head.checkpoint_at).total_seconds()
    problem = "; ".join(filter(None, (head.problem, head.problem_detail)))
    values = [
        ("origin", head.origin),
        ("size", f"{head.size} leaves"),
        ("checkpoint", f"{head.checkpoint_size} leaves, {age:.0f} s old"),
        ("waiting", f"{waiting:.0f} s" if waiting else "nothing"),
        *(("key", f"{VerifierKey.parse(key).key_id.hex()} {key}") for key in head.verifier_keys),
        ("folder", f"{directory.path}: {_folder(directory)}"),
        *(("anchor", f"{url} {size} leaves at {at:%Y-%m-%dT%H:%M:%SZ}") for url, size, at in anchors),
        *([] if anchors else [("anchors", "none")]),
        ("problem", problem or "none"),
    ]
    return [f"{name:<10} {value}" for name, value in values]


def _folder(directory: LogDirectory) -> str:
    """Return what the folder of this machine has."""
    try:
        keys, copy = len(directory.keys()), directory.copy()
    except CannotSeal as error:
        return str(error)
    return f"{keys} signing key{'' if keys == 1 else 's'}, {'a' if copy else 'no'} copy of the checkpoint"
