"""`/log/`: checkpoint, tiles and entries, as C2SP's tlog-tiles and tlog-checkpoint say."""

import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.aggregator.transparency import rfc6962
from tests.aggregator.transparency.log_files import download, entries, opened, resources, verify, write
from tests.commerce.feed.reading import reader

pytestmark = pytest.mark.django_db(transaction=True)
NODE = Path(__file__).parent / "node"


@pytest.fixture
def log_of_600(log, record, seal):
    """A log that has two full tiles."""
    record(*({"signal_id": f"s-{number}"} for number in range(600)))
    seal()
    return log


def test_all_that_is_published_is_one_tree(log_of_600, tmp_path):
    folder = download(tmp_path)
    origin, size, root = opened((folder / "checkpoint").read_text(), log_of_600)
    assert (origin, size) == ("hub.example.com/log", 600)
    leaves = entries(folder)
    assert len(leaves) == 600
    assert rfc6962.mth(leaves) == root
    hashes = b"".join(hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves)
    read = b"".join((folder / f"tile/0/{name}").read_bytes() for name in ("000", "001", "002.p/88"))
    assert read == hashes
    assert (folder / "tile/1/000.p/2").read_bytes() == rfc6962.mth(leaves[:256]) + rfc6962.mth(
        leaves[256:512]
    )


def test_static_files_are_cached_and_may_be_read_from_any_page(log_of_600, client):
    types = {"checkpoint": "text/plain; charset=utf-8"}
    kept = {"checkpoint": "max-age=5", "tile/0/000": "immutable", "tile/entries/001": "immutable"}
    for path in ["checkpoint", *resources(600)]:
        answer = client.get(f"/log/{path}", headers={"Origin": "https://elsewhere.example.com"})
        assert answer["Content-Type"] == types.get(path, "application/octet-stream")
        assert kept.get(path, "max-age=") in answer["Cache-Control"]
        assert ("immutable" in answer["Cache-Control"]) == (path != "checkpoint" and ".p/" not in path)
        assert answer["Access-Control-Allow-Origin"] == "*"
        assert "Set-Cookie" not in answer
        again = client.get(f"/log/{path}", headers={"If-None-Match": answer["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.head(f"/log/{path}").status_code == 200


def test_entries_are_compressed_where_the_client_takes_it(log_of_600, client):
    plain = client.get("/log/tile/entries/000").content
    packed = client.get("/log/tile/entries/000", headers={"Accept-Encoding": "gzip"})
    assert packed["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain


def test_a_partial_tile_of_an_earlier_checkpoint_stays(log_of_600, record, seal, client):
    before = client.get("/log/tile/0/002.p/88").content
    record(*({"signal_id": f"t-{number}"} for number in range(200)))
    seal()
    assert client.get("/log/tile/0/002.p/88").content == before
    assert client.get("/log/tile/0/002").content.startswith(before)


NOT_COVERED = (
    "tile/0/003 tile/0/002 tile/0/002.p/89 tile/1/000 tile/1/000.p/3 tile/2/000.p/1 tile/entries/002.p/89 "
    "tile/0/0 tile/x tile/64/000 tile/ tile/../checkpoint nothing"
)


def test_what_no_checkpoint_covers_is_not_there(log_of_600, client):
    for path in NOT_COVERED.split():
        answer = client.get(f"/log/{path}")
        assert answer.status_code == 404, path
        assert b"hash" not in answer.content.lower(), path


def test_leaves_show_with_their_checkpoint_and_not_before(log, record, seal, log_dir, client):
    record()
    (log_dir / "checkpoint.new").symlink_to("/dev/full")
    assert seal().size == 1
    assert client.get("/log/tile/0/000.p/1").status_code == 404
    (log_dir / "checkpoint.new").unlink()
    seal()
    assert client.get("/log/tile/0/000.p/1").status_code == 200


def test_a_hub_without_a_log_has_no_checkpoint(client, db):
    for path in ("checkpoint", "tile/0/000", "tile/entries/000"):
        assert client.get(f"/log/{path}").status_code == 404
    assert client.post("/log/checkpoint").status_code == 405


def test_software_of_others_verifies_checkpoint_and_inclusion(log_of_600):
    node = shutil.which("node")
    if not node or not (NODE / "node_modules").is_dir():
        pytest.skip("no node, or not its packages: `make tests` installs them where there is npm")
    proofs = [reader().get(f"signals/crypto/s-{number}/proof").json() for number in (0, 255, 599)]
    given = json.dumps({"key": log_of_600, "proofs": proofs})
    done = subprocess.run([node, "verify.mjs"], cwd=NODE, input=given, capture_output=True, text=True)
    assert done.stdout.split() == ["verified", "verified", "verified"], done
    proofs[0]["leaf_data"] = proofs[0]["leaf_data"].replace("signal", "Signal")
    proofs[1]["checkpoint"] = proofs[1]["checkpoint"].replace("600", "601")
    proofs[2]["proof"] = proofs[2]["proof"][1:]
    given = json.dumps({"key": log_of_600, "proofs": proofs})
    done = subprocess.run([node, "verify.mjs"], cwd=NODE, input=given, capture_output=True, text=True)
    assert done.stdout.split() == ["refused", "refused", "refused"], done


def test_the_verifier_reads_checkpoints_and_their_consistency(log_of_600, record, seal, tmp_path):
    old = download(tmp_path / "old") / "checkpoint"
    record(*({"signal_id": f"t-{number}"} for number in range(100)))
    seal()
    copy = download(tmp_path / "new")
    new = copy / "checkpoint"
    assert verify("checkpoint", new, "--key", log_of_600) == (
        0,
        f"ok: {new} is a checkpoint of hub.example.com/log: 700 leaves",
    )
    key_file = write(tmp_path / "key", f"{log_of_600}\n")
    status, line = verify("consistency", old, new, "--log", copy, "--key", key_file)
    assert (status, line) == (0, f"ok: hub.example.com/log: the 700 leaves of {new} extend the 600 of {old}")
    assert verify("consistency", new, new, "--log", copy, "--key", log_of_600)[0] == 0
