"""Signed notes, verifier keys and checkpoints (C2SP signed-note, tlog-checkpoint), with Ed25519."""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from aggregator.transparency.merkle import HASH_BYTES

ED25519 = b"\x01"
KEY_ID_BYTES = 4
MAX_NOTE_BYTES = 65_536
_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+=*)")


class InvalidNote(ValueError):
    """A note, a checkpoint or a key is not what it should be; the text is a few words for an operator."""


@dataclass(frozen=True)
class VerifierKey:
    """The public key that verifies a log's notes, under the log's name."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first bytes of the hash of name and key, which a signature names its key by."""
        digest = hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()
        return digest[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Return the key of a text `name+hash+base64`. Raises InvalidNote."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        material = _base64(encoded)
        key = cls(name, material[1:])
        if material[:1] != ED25519 or len(key.public) != HASH_BYTES or not _NAME.fullmatch(name):
            raise InvalidNote("not the verifier key of an Ed25519 key")
        if key.key_id.hex() != key_id:
            raise InvalidNote("the hash in the verifier key is not that of its name and key")
        return key


@dataclass(frozen=True)
class SigningKey:
    """A log's private key."""

    private: Ed25519PrivateKey

    def verifier(self, name: str) -> VerifierKey:
        return VerifierKey(name, self.private.public_key().public_bytes_raw())

    def signature_line(self, name: str, text: str) -> str:
        signed = self.verifier(name).key_id + self.private.sign(text.encode())
        return f"— {name} {base64.b64encode(signed).decode()}\n"


@dataclass(frozen=True)
class Checkpoint:
    """A signed tree head, without its signatures."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Return the checkpoint of a note's text. Raises InvalidNote."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not _SIZE.fullmatch(lines[1]):
            raise InvalidNote("not a checkpoint: it begins with origin, tree size and root hash")
        root = _base64(lines[2])
        if len(root) != HASH_BYTES:
            raise InvalidNote("the checkpoint's root hash is not one of SHA-256")
        return cls(lines[0], int(lines[1]), root)


@dataclass(frozen=True)
class Note:
    """A text with its signatures: the name and bytes of each, of which the first four are the key's id."""

    text: str
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def parse(cls, raw: str) -> "Note":
        """Return the parts of a note, of which none is verified. Raises InvalidNote."""
        text, separator, lines = raw.rpartition("\n\n")
        matches = [_SIGNATURE_LINE.fullmatch(line) for line in lines.split("\n")[:-1]]
        if len(raw) > MAX_NOTE_BYTES or not separator or not lines.endswith("\n") or not all(matches):
            raise InvalidNote("not a signed note: a text, an empty line, signatures")
        signatures = [(match[1], _base64(match[2])) for match in matches if match]
        if any(character < " " and character != "\n" for character in raw):
            raise InvalidNote("not a signed note: it holds a control character")
        return cls(text + "\n", tuple(signatures))

    def verified_by(self, keys: Sequence[VerifierKey]) -> list[VerifierKey]:
        """Return those of the keys that have signed. Raises InvalidNote for a wrong signature of one."""
        found = []
        for name, signed in self.signatures:
            for key in keys:
                if (name, signed[:KEY_ID_BYTES]) == (key.name, key.key_id):
                    _verify(key, self.text, signed[KEY_ID_BYTES:])
                    found.append(key)
        return found


def sign(checkpoint: Checkpoint, keys: Sequence[SigningKey]) -> str:
    """Return the checkpoint as a note that every key has signed."""
    lines = [key.signature_line(checkpoint.origin, checkpoint.text) for key in keys]
    return f"{checkpoint.text}\n{''.join(lines)}"


def _verify(key: VerifierKey, text: str, signature: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except InvalidSignature:
        raise InvalidNote(f"the signature of {key.name} is wrong") from None


def _base64(text: str) -> bytes:
    """Return the bytes of standard base64. Raises InvalidNote, also for another spelling of the bytes."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidNote("not base64") from None
    if base64.b64encode(decoded).decode() != text:
        raise InvalidNote("not base64")
    return decoded
