"""A time-stamping authority that runs here (`openssl ts`)."""

import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 -subj "/CN=Test CA"
openssl req $new -keyout tsa.key -out tsa.csr -subj "/CN=Test TSA"
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
                self.send_header("Content-Length", str(len(reply) + (authority.mode == "cut off")))
                self.end_headers()
                for byte in reply if authority.mode == "slow" else ():
                    time.sleep(0.05)
                    self.wfile.write(bytes([byte]))
                if authority.mode != "slow":
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
