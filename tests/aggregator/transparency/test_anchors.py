"""Anchors: RFC 3161 timestamps of checkpoints, from an authority that runs here (`openssl ts`)."""

import base64
import shutil
import subprocess

import pytest
from cryptography import x509
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from aggregator.models import LogAnchor
from aggregator.transparency import anchors
from aggregator.transparency.anchors import anchor_checkpoint

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here"),
]


def test_a_checkpoint_is_stamped_kept_and_published(log, authority, record, seal, client, tmp_path):
    record()
    checkpoint = seal().checkpoint
    assert anchor_checkpoint() == 1
    [published] = client.get("/log/anchors").json()
    assert (published["checkpoint"], published["size"]) == (checkpoint, 1)
    assert published["authority"] == f"http://127.0.0.1:{authority.server.server_port}/tsr"
    response = base64.b64decode(published["response"])
    ca = x509.load_pem_x509_certificate((authority.folder / "ca.pem").read_bytes())
    verifier = VerifierBuilder().add_root_certificate(ca).build()
    verifier.verify_message(decode_timestamp_response(response), checkpoint.encode())
    with pytest.raises(VerificationError):
        verifier.verify_message(decode_timestamp_response(response), b"another checkpoint")
    (tmp_path / "checkpoint").write_text(checkpoint)
    (tmp_path / "checkpoint.tsr").write_bytes(response)
    command = ["openssl", "ts", "-verify", "-data", "checkpoint", "-in", "checkpoint.tsr"]
    trusted = ["-CAfile", str(authority.folder / "ca.pem")]
    done = subprocess.run([*command, *trusted], cwd=tmp_path, capture_output=True, text=True)
    assert "Verification: OK" in done.stdout


def test_each_checkpoint_is_stamped_once(log, authority, record, seal):
    record()
    seal()
    assert [anchor_checkpoint(), anchor_checkpoint()] == [1, 0]
    record()
    seal()
    assert anchor_checkpoint() == 1
    assert authority.asked == 2


@pytest.mark.parametrize("mode", ["garbage", "broken", "of something else", "cut off", "slow", "gone"])
def test_an_authority_that_gives_no_timestamp_is_asked_again(
    log, authority, record, seal, mode, caplog, monkeypatch
):
    """Nor does one that sends a byte now and then hold up the other jobs."""
    monkeypatch.setattr(anchors, "ANCHOR_TIMEOUT_S", 3.0)
    record()
    seal()
    anchor_checkpoint()
    record()
    seal()
    authority.mode = mode
    if mode == "gone":
        authority.server.shutdown()
        authority.server.server_close()
    assert anchor_checkpoint() == 0
    assert LogAnchor.objects.count() == 1
    assert "password" not in caplog.text
    if mode != "gone":
        authority.mode = "honest"
        assert anchor_checkpoint() == 1


def test_without_authorities_or_without_a_log_nothing_is_asked(db, log_dir, client):
    assert anchor_checkpoint() == 0
    assert client.get("/log/anchors").json() == []
