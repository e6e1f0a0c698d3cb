"""Where the embedded servers keep their data, and the account that runs them."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SHARED_HOME = Path("/var/lib/signal-hub")


class ServerError(RuntimeError):
    """A server cannot be started; the message is one line that a user can act on."""


def is_root() -> bool:
    return os.geteuid() == 0


def server_account() -> pwd.struct_passwd | None:
    """Return an unprivileged account for the servers when the caller is root; None for the caller's own."""
    if not is_root():
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerError("Postgres does not run as root and there is no account postgres or nobody: add one")


def give_to_server(path: Path) -> None:
    """Make the servers' account the owner of a file or folder that we created."""
    if account := server_account():
        os.chown(path, account.pw_uid, account.pw_gid)


def data_home(project: Path) -> Path:
    """Return where the servers of the project at `project` keep their data (not created here)."""
    project = project.resolve()
    if not is_root():
        return project / ".data"
    return SHARED_HOME / hashlib.sha256(str(project).encode()).hexdigest()[:12]


def create_home(home: Path) -> None:
    """Create the folder and its missing parents; others may pass through root's, but not list them."""
    if home.exists():
        return
    create_home(home.parent)
    home.mkdir(mode=0o700, exist_ok=True)
    if is_root():
        home.chmod(0o711)


def copy_once(sources: Sequence[Path], target: Path) -> None:
    """Copy files and folders into the new folder `target`, readable by all, unless it is there already.

    What only compilers need, and the other Postgres of the package, is left out: half of its size. The
    rename at the end is atomic: of two concurrent calls one wins and the other uses what it made.
    Raises OSError.
    """
    if target.exists():
        return
    create_home(target.parent)
    draft = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        for source in sources:
            if source.is_dir():
                unused = shutil.ignore_patterns("include", "*.a", "pginstall", "__pycache__")
                shutil.copytree(source, draft / source.name, symlinks=True, ignore=unused)
            else:
                shutil.copy(source, draft)
        _open_to_all(draft)
        draft.rename(target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _open_to_all(folder: Path) -> None:
    """Let every account read and execute what we copied, whatever umask the original was installed with."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
