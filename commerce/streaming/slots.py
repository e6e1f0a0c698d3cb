"""How many streams a customer has open, over all processes: each is a lease that its process renews."""

from uuid import UUID, uuid4

from django.db import connection, transaction

TTL_S = 15
"""How long a lease outlives a process that died: what its customer waits for the place."""

# The customer's row is locked, so that two processes cannot both take the last place.
LOCK = "SELECT id FROM customers WHERE id = %s FOR UPDATE"
EXPIRE = "DELETE FROM stream_leases WHERE seen_at < now() - make_interval(secs => %s)"
TAKE = """
    INSERT INTO stream_leases (id, customer_id, process, taken_at, seen_at)
    SELECT %(id)s, %(customer)s, %(process)s, clock_timestamp(), clock_timestamp()
    WHERE (SELECT count(*) FROM stream_leases WHERE customer_id = %(customer)s
        AND seen_at >= now() - make_interval(secs => %(ttl)s)) < %(allowed)s"""
# By name, since one that could not be given back during an outage must run out though its process lives.
RENEW = "UPDATE stream_leases SET seen_at = clock_timestamp() WHERE process = %s AND id = ANY (%s)"
# Those that count, in the order of their taking.
PLACES = """
    SELECT id, place FROM (
        SELECT id, process, row_number() OVER (PARTITION BY customer_id ORDER BY taken_at, id) AS place
        FROM stream_leases WHERE seen_at >= now() - make_interval(secs => %s)) AS counted
    WHERE process = %s AND id = ANY (%s)"""


def take(customer_id: int, process: UUID, allowed: int) -> UUID | None:
    """Return a new lease, or None when the customer has `allowed` streams open."""
    lease = uuid4()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK, [customer_id])
        cursor.execute(
            TAKE,
            {"id": lease, "customer": customer_id, "process": process, "ttl": TTL_S, "allowed": allowed},
        )
        return lease if cursor.rowcount else None


def renew(process: UUID, leases: list[UUID]) -> dict[UUID, int]:
    """Renew the leases of a process's open streams, and clear away what ran out, in three statements.

    Returns each one's place among its customer's, from 1; one that is missing there was cleared away.
    """
    with connection.cursor() as cursor:
        cursor.execute(RENEW, [process, leases])
        cursor.execute(EXPIRE, [TTL_S * 4])
        cursor.execute(PLACES, [TTL_S, process, leases])
        return dict(cursor.fetchall())


def give_back(lease: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM stream_leases WHERE id = %s", [lease])
