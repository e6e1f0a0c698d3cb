"""The published log, downloaded and read by a second reader, written from C2SP's specifications alone."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.test import Client

from tests.servers import PROJECT

VERIFIER = PROJECT / "examples" / "verify_record.py"


def name(number: int) -> str:
    """tlog-tiles: "zero-padded 3-digit path elements", all but the last with an x before them."""
    found = f"{number % 1000:03}"
    while number := number // 1000:
        found = f"x{number % 1000:03}/{found}"
    return found


def resources(size: int) -> list[str]:
    """The paths of everything that a tree of a size consists of."""
    found = []
    for kind, count in [("entries", size), *((str(level), size >> 8 * level) for level in range(8))]:
        full, width = divmod(count, 256)
        found += [f"tile/{kind}/{name(number)}" for number in range(full)]
        found += [f"tile/{kind}/{name(full)}.p/{width}"] if width else []
    return found


def get(path: str) -> bytes:
    response = Client().get(f"/log/{path}")
    assert response.status_code == 200, (path, response.content)
    return bytes(response.content)


def download(folder: Path) -> Path:
    """Copy what is published under /log/ into a folder."""
    checkpoint = get("checkpoint")
    for path in ["checkpoint", *resources(int(checkpoint.split(b"\n")[1]))]:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(checkpoint if path == "checkpoint" else get(path))
    return folder


def entries(folder: Path) -> list[bytes]:
    """The entries of all bundles: each "uint16 length-prefixed"."""
    size = int((folder / "checkpoint").read_text().split("\n")[1])
    found = []
    for path in [path for path in resources(size) if "entries" in path]:
        data = (folder / path).read_bytes()
        while data:
            (length,) = struct.unpack(">H", data[:2])
            found.append(data[2 : 2 + length])
            data = data[2 + length :]
    return found


def opened(note: str, verifier_key: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint whose signature is right."""
    key_name, key_id, encoded = verifier_key.split("+", 2)
    public = base64.b64decode(encoded)
    assert hashlib.sha256(f"{key_name}\n".encode() + public).hexdigest()[:8] == key_id
    text, lines = note[: note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2 :]
    [signature] = [
        raw
        for line in lines.splitlines()
        for raw in [base64.b64decode(line.removeprefix("— ").split(" ")[1])]
        if line.startswith(f"— {key_name} ") and raw[:4].hex() == key_id
    ]
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(signature[4:], text.encode())
    origin, size, root = text.split("\n")[:3]
    return origin, int(size), base64.b64decode(root)


def verify(*arguments: Any) -> tuple[int, str]:
    """Run the verifier as a customer does, apart from the project; return its status and its line."""
    command = [sys.executable, "-I", str(VERIFIER), *map(str, arguments)]
    done = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert len(lines) == 1, done
    return done.returncode, lines[0]


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
