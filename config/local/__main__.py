"""Run the hub: `python -m config.local`.

Generates what `.env` lacks, starts the servers, migrates, creates the operator's login and runs the
Procfiles. PORT chooses the web server's port; DEMO=off leaves the demo publishers out; SIGNAL_HUB_DATA moves
the servers' data.
"""

from __future__ import annotations

import base64
import io
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from config.local import Postgres, Redis, ServerError, data_home
from config.local.announcement import announce_when_live, print_line, startup_message
from config.local.env_file import DotEnv
from config.local.processes import (
    DATA,
    MARK,
    OPERATOR,
    ROOT,
    RunError,
    free_port_from,
    manage,
    operator_password,
    single_run,
    stop_earlier_run,
    web_port,
)
from config.local.supervisor import supervise

DATABASE = "signal_hub"


def main() -> int:
    """Run until interrupted; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of another encoding gets question marks
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            try:
                return run(stack)
            finally:
                # From here on everything is being stopped, in order; a second Ctrl-C must not cut that short.
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        return 0
    except (RunError, ServerError, OSError) as error:
        print_line(f"signal-hub: {error}", error=True)
        return 1


def run(stack: ExitStack) -> int:
    """Start everything on `stack`, which stops it in reverse order; return the exit status."""
    DATA.mkdir(mode=0o700, exist_ok=True)
    stack.enter_context(single_run())
    stop_earlier_run()
    port = web_port()
    named = os.environ.get("SIGNAL_HUB_DOTENV") or "off"
    dotenv = DotEnv(ROOT / ".env" if named == "off" else Path(named))
    dotenv.add(generated())
    local = {
        "CORE_EVENT_BUS_BACKEND": "redis",
        "AGG_SIGNAL_ENDPOINT": f"http://127.0.0.1:{port}/api/signals",
        **start_servers(stack, dotenv),
    }
    local = {name: value for name, value in local.items() if not _is_set(name, dotenv)}
    dotenv.save(local)
    environment = child_environment(dotenv, local, port)
    print_line("Migrating …")
    migrate(environment, embedded="CORE_DB_URL" in local)
    if "CORE_LOG_DIR" in local:
        try:
            manage(environment, "transparency", "init")  # which begins the log unless it has begun
        except RunError as error:  # the hub runs without a log, too
            print_line(f"signal-hub: {error}", error=True)
    demo = os.environ.get("DEMO", "on").lower() not in {"off", "0", "no", "false"}
    if demo:
        manage(environment, "seed_plans", "--simulated")
    password = operator_password(environment)
    message = startup_message(environment, OPERATOR, password, demo=demo)
    agents = ROOT / "Procfile.demo" if demo else None
    failure = supervise(ROOT / "Procfile", agents, environment, partial(announce_when_live, port, message))
    print_line(failure or "Stopping …", error=bool(failure))
    return 1 if failure else 0


def migrate(environment: Mapping[str, str], *, embedded: bool) -> None:
    """Create the tables. Raises RunError; for data of before the first release it says what to do."""
    try:
        manage(environment, "migrate", "--noinput")
    except RunError as error:
        if embedded and "before the first release" in str(error):
            folder = server_data()
            advice = f"mv {folder} {folder}.before"
            raise RunError(
                f"the data in {folder} is of a version before the first release: {advice}"
            ) from None
        raise


def server_data() -> Path:
    """Return the folder of the embedded servers' data."""
    return Path(os.environ.get("SIGNAL_HUB_DATA") or data_home(ROOT)).absolute()


def generated() -> dict[str, str]:
    """Return fresh secrets, and the hosts of a local hub."""
    return {
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(48),
        "DJANGO_ALLOWED_HOSTS": "localhost,127.0.0.1",
        "CORE_AUTH_SECRET": secrets.token_urlsafe(32),
        "CORE_EVENT_WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
    }


def start_servers(stack: ExitStack, dotenv: DotEnv) -> dict[str, str]:
    """Start the servers that the user has not named; return the variables that name ours."""
    home = server_data()
    variables = {}
    if not _is_set("CORE_DB_URL", dotenv):
        print_line("Starting Postgres …")
        variables["CORE_DB_URL"] = stack.enter_context(Postgres(home)).create_database(DATABASE)
        # Beside the database that it belongs to, so that who removes the one removes both.
        variables["CORE_LOG_DIR"] = str(home / "log")
    if not _is_set("CORE_REDIS_URL", dotenv):
        cache = Redis(home)
        print_line(f"Starting {cache.program.title} …")
        if cache.program.warning:
            print_line(f"signal-hub: {cache.program.warning}", error=True)
        variables["CORE_REDIS_URL"] = stack.enter_context(cache).url
    return variables


def child_environment(dotenv: DotEnv, local: Mapping[str, str], port: int) -> dict[str, str]:
    """Return the environment of the hub's programs; they read the user's part of `.env` themselves."""
    programs = str(Path(sys.executable).parent)
    stream_port = free_port_from(port + 1)
    receiver_port = free_port_from(stream_port + 1)
    unproxied = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {
        **inherited,
        **local,
        "SIGNAL_HUB_DOTENV": str(dotenv.path),
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "PORT": str(port),
        "STREAM_PORT": os.environ.get("STREAM_PORT") or str(stream_port),
        "RECEIVER_PORT": os.environ.get("RECEIVER_PORT") or str(receiver_port),
        "PYTHONUNBUFFERED": "1",
        # A proxy of the user's network cannot reach this machine's loopback.
        "no_proxy": ",".join(filter(None, [unproxied, "127.0.0.1", "localhost"])),
        MARK: str(ROOT),
    }


def _is_set(name: str, dotenv: DotEnv) -> bool:
    """Return whether the user has set a variable, in the environment or in `.env`."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE")) or dotenv.has(name)


if __name__ == "__main__":
    sys.exit(main())
