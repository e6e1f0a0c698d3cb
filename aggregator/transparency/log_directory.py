"""CORE_LOG_DIR: the log's signing keys, and a copy of the last checkpoint, outside the database.

A database may be restored from a backup, and then be behind a checkpoint that was published. The copy is what
tells: it is written before a checkpoint is published, and never replaced by an earlier one.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.conf import settings

from aggregator.transparency.notes import SigningKey

END = "-----END PRIVATE KEY-----\n"
NOT_ED25519 = "it is not an Ed25519 private key in PEM"
OWNER_ONLY = 0o700
OTHERS = 0o077


class CannotSeal(Exception):
    """No checkpoint can be made. The summary is for the public: it names no files, hosts or figures."""

    def __init__(self, summary: str, detail: str = "") -> None:
        super().__init__(summary)
        self.summary, self.detail = summary, detail

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.summary, self.detail)))


@dataclass(frozen=True)
class LogDirectory:
    """The folder. Its methods raise CannotSeal where a file cannot be read or written."""

    path: Path
    given_keys: str | None = None
    """CORE_LOG_SIGNING_KEY, which takes the place of the key file."""

    @property
    def key_file(self) -> Path:
        return self.path / "signing-key.pem"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "checkpoint"

    def keys(self) -> list[SigningKey]:
        """Return the signing keys: none, one, or two during a rotation, the older one first."""
        pem = self.given_keys
        if pem is None:
            self._require_private()
            pem = self._read(self.key_file, "the signing key cannot be read")
        if pem is None:
            return []
        *blocks, rest = pem.split(END.rstrip())
        if rest.strip() or not blocks:
            raise CannotSeal("the signing key cannot be read", NOT_ED25519)
        return [_signing_key(f"{block.lstrip()}{END}".encode()) for block in blocks]

    def copy(self) -> str | None:
        """Return the last checkpoint, None where there is no copy."""
        return self._read(self.checkpoint_file, "the copy of the last checkpoint cannot be read")

    def create(self) -> None:
        """Create the folder, for its owner alone."""
        with _reported("the log's folder cannot be created"):
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(OWNER_ONLY)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: no other process here reads the copy and then replaces it in the meantime."""
        with _reported("the log's folder cannot be locked"):
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                raise
        try:
            yield
        finally:
            os.close(handle)

    def write_copy(self, note: str) -> None:
        """Replace the copy; it is on disk when this returns. The caller has locked the folder."""
        with _reported("the copy of the checkpoint cannot be written"):
            _replace(self.checkpoint_file, note)

    def archive_copy(self, name: str) -> None:
        """Keep the copy under another name, as that of a log that is continued no more."""
        with _reported("the copy of the last checkpoint cannot be kept"), suppress(FileNotFoundError):
            self.checkpoint_file.rename(self.path / name)

    def add_key(self) -> None:
        """Make a signing key and append it to those that are there."""
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        known = self._read(self.key_file, "the signing key cannot be read") or ""
        self._write_keys(known + pem.decode())

    def drop_first_key(self) -> None:
        """Remove the older one of two signing keys."""
        known = self._read(self.key_file, "the signing key cannot be read") or ""
        self._write_keys(known.partition(END)[2])

    def _write_keys(self, pem: str) -> None:
        with _reported("the signing key cannot be written"):
            _replace(self.key_file, pem)

    def _require_private(self) -> None:
        """Raise CannotSeal where others than the owner may enter the folder or read the key."""
        with _reported("the signing key cannot be read"), suppress(FileNotFoundError):
            for each in (self.path, self.key_file):
                if each.stat().st_mode & OTHERS:
                    raise CannotSeal(
                        "the signing key is not private", f"others may read {each}: chmod go= it"
                    )

    def _read(self, path: Path, problem: str) -> str | None:
        try:
            return path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CannotSeal(problem, f"{path}: {getattr(error, 'strerror', None) or 'not text'}") from error


def log_directory() -> LogDirectory:
    """Return the folder of this hub."""
    environment = settings.ENVIRONMENT
    return LogDirectory(settings.BASE_DIR / environment.log_dir, environment.log_signing_key)


def key_ids(keys: Sequence[SigningKey], origin: str) -> list[str]:
    """Return the verifier keys of signing keys, as text."""
    return [str(key.verifier(origin)) for key in keys]


def _signing_key(pem: bytes) -> SigningKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise CannotSeal("the signing key cannot be read", NOT_ED25519)
    return SigningKey(key)


def _replace(path: Path, text: str) -> None:
    """Replace a file by a new one that is on disk before it takes the name."""
    draft = path.with_name(f"{path.name}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _reported(problem: str) -> Iterator[None]:
    """Turn an OSError into CannotSeal."""
    try:
        yield
    except OSError as error:
        raise CannotSeal(problem, f"{error.filename or ''}: {error.strerror}".lstrip(": ")) from error
