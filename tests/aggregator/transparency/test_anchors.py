"""Anchors: RFC 3161 timestamps of checkpoints, from an authority that runs here (`openssl ts`)."""

import base64
import dataclasses
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from aggregator.models import LogAnchor
from aggregator.transparency.anchors import anchor_checkpoint

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here"),
]

CONFIG = """
[tsa]
default_tsa = here
[here]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_alg = sha256
"""
SETUP = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj "/CN=Test CA"
openssl req -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj "/CN=Test TSA"
printf 'extendedKeyUsage=critical,timeStamping\\nkeyUsage=critical,digitalSignature' > extensions
openssl x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -out tsa.pem
echo 01 > serial
"""


class Authority:
    """The local authority: `mode` says how it answers."""

    def __init__(self, folder):
        self.folder, self.mode, self.asked = folder, "honest", 0
        (folder / "config").write_text(CONFIG)
        subprocess.run(["/bin/sh", "-ec", SETUP], cwd=folder, check=True, capture_output=True)
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                authority.asked += 1
                query = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/timestamp-query"
                reply = authority.reply(query)
                self.send_response(500 if authority.mode == "broken" else 200)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://user:password@127.0.0.1:{self.server.server_port}/tsr"

    def reply(self, query):
        if self.mode == "garbage":
            return b"no timestamp"
        if self.mode == "of something else" and not (self.folder / "query").exists():
            raise AssertionError("a query of before is needed")
        if self.mode != "of something else":
            (self.folder / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply", "-queryfile", "query", "-config", "config", "-out", "reply"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        return (self.folder / "reply").read_bytes()


@pytest.fixture
def authority(settings, tmp_path_factory, log_dir):
    made = Authority(tmp_path_factory.mktemp("tsa"))
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, log_tsa_urls=(made.url,))
    yield made
    made.server.shutdown()
    made.server.server_close()


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


@pytest.mark.parametrize("mode", ["garbage", "broken", "of something else", "gone"])
def test_an_authority_that_gives_no_timestamp_is_asked_again(log, authority, record, seal, mode, caplog):
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
