"""The run's own `manage.py` commands, its place on this machine, and what an earlier run left behind."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from config.local import is_port_free

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / ".data"
OPERATOR = "operator"
MARK = "SIGNAL_HUB_RUN"
"""In the environment of every program of a run: a later run recognises what a killed one left behind."""


class RunError(RuntimeError):
    """The hub cannot run; the message is one line that a user can act on."""


@contextmanager
def single_run() -> Iterator[None]:
    """Hold the project for one run at a time. Raises RunError."""
    with (DATA / "run.lock").open("a+") as lock:
        try:
            # A record lock: unlike flock's it is not inherited by forks, so it ends with this very process.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise RunError(f"it is already running here (process {lock.read().strip()})") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def stop_earlier_run() -> None:
    """End programs of an earlier run that was killed before it could stop them."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(ROOT):
                process.terminate()
                left.append(process)
    for process in psutil.wait_procs(left, timeout=15)[1]:
        with suppress(psutil.Error):
            process.kill()


def web_port() -> int:
    """Return PORT (8000), or the next one that is free. Raises RunError."""
    wanted = os.environ.get("PORT") or "8000"
    if not re.fullmatch("[0-9]{1,5}", wanted) or not 0 < int(wanted) < 65536:
        raise RunError(f"PORT holds {wanted!r}: it may hold a port number")
    return free_port_from(int(wanted))


def free_port_from(wanted: int) -> int:
    """Return a port, or the next one that is free. Raises RunError."""
    for port in range(wanted, min(wanted + 100, 65536)):
        if is_port_free(port):
            return port
    raise RunError(f"no free port from {wanted} on")


def manage(environment: Mapping[str, str], *arguments: str) -> None:
    """Run a `manage.py` command. Raises RunError with its last line."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        log = DATA / "manage.log"
        log.write_text(done.stdout)
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        causes = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit)\b", line)]
        reason = (causes or lines or ["it failed without a message"])[-1]
        raise RunError(f"manage.py {arguments[0]}: {reason} (all of it: {log})")


def operator_password(environment: Mapping[str, str]) -> str:
    """Create the operator's account once; return its password, or where it was set before."""
    file = DATA / "operator.password"
    password = file.read_text().strip() if file.exists() else ""
    known = password != ""  # a full disk may have left the file empty
    if not known:
        password = secrets.token_urlsafe(12)
        file.touch(mode=0o600)
        file.write_text(password)
    options = ["--skip-checks", "--noinput", "--username", OPERATOR, "--email", f"{OPERATOR}@localhost"]
    try:
        manage({**environment, "DJANGO_SUPERUSER_PASSWORD": password}, "createsuperuser", *options)
    except RunError as error:
        if "already taken" not in str(error):
            raise
        if not known:
            # A shared database, whose operator was made elsewhere.
            file.unlink()
            return f"(as set before; `manage.py changepassword {OPERATOR}` sets another)"
    return password
