"""How many streams a customer has open, over all processes: each holds a slot that its process renews."""

from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction

from commerce.entitlements import OPERATOR

SLOT_TIMEOUT_S = 15
"""How long the slot of a process that died stays occupied."""

# The customer's row is locked, so that two processes cannot both acquire the last slot.
LOCK_CUSTOMER = "SELECT id FROM customers WHERE id = %s FOR UPDATE"
EXPIRE = "DELETE FROM stream_slots WHERE renewed_at < now() - make_interval(secs => %s)"
ACQUIRE = """
    INSERT INTO stream_slots (id, customer_id, process, acquired_at, renewed_at)
    SELECT %(id)s, %(customer)s, %(process)s, clock_timestamp(), clock_timestamp()
    WHERE (SELECT count(*) FROM stream_slots WHERE customer_id = %(customer)s
        AND renewed_at >= now() - make_interval(secs => %(timeout)s)) < %(allowed)s"""
# By id, since one that could not be released during an outage must expire though its process lives.
RENEW = "UPDATE stream_slots SET renewed_at = clock_timestamp() WHERE process = %s AND id = ANY (%s)"
RANKS = """
    SELECT id, rank FROM (
        SELECT id, process, row_number() OVER (PARTITION BY customer_id ORDER BY acquired_at, id) AS rank
        FROM stream_slots WHERE renewed_at >= now() - make_interval(secs => %s)) AS occupied
    WHERE process = %s AND id = ANY (%s)"""


def acquire(customer_id: int, process: UUID, allowed: int) -> UUID | None:
    """Return a new slot, or None when the customer has `allowed` streams open.

    An operator's streams are not counted: they need no row that renews the slot.
    """
    slot = uuid4()
    if customer_id == OPERATOR:
        return slot
    parameters: dict[str, Any] = {
        "id": slot,
        "customer": customer_id,
        "process": process,
        "timeout": SLOT_TIMEOUT_S,
        "allowed": allowed,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK_CUSTOMER, [customer_id])
        cursor.execute(ACQUIRE, parameters)
        return slot if cursor.rowcount else None


def renew(process: UUID, slots: list[UUID]) -> dict[UUID, int]:
    """Renew the slots of a process's open streams and delete expired ones, in three statements.

    Returns the rank of each among its customer's, from 1 in the order of acquiring; one that is missing there
    had expired and was deleted.
    """
    with connection.cursor() as cursor:
        cursor.execute(RENEW, [process, slots])
        cursor.execute(EXPIRE, [SLOT_TIMEOUT_S * 4])
        cursor.execute(RANKS, [SLOT_TIMEOUT_S, process, slots])
        return dict(cursor.fetchall())


def release(slot: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM stream_slots WHERE id = %s", [slot])
