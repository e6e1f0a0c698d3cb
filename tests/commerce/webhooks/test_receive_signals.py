"""examples/receive_signals.py"""

import json
import sys
import time
from datetime import UTC, datetime

import requests
from standardwebhooks import Webhook

from tests.servers import PROJECT, Program, eventually

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_message_is_printed_once_and_a_forged_one_never(free_port, tmp_path):
    command = [sys.executable, str(PROJECT / "examples" / "receive_signals.py"), str(free_port)]
    program = Program(command, {"SECRET": SECRET}, tmp_path / "log")
    url, body = f"http://127.0.0.1:{free_port}/", json.dumps({"type": "signal.recorded", "data": {"id": "a"}})

    def send(secret: str) -> int:
        headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(time.time()))}
        headers["webhook-signature"] = Webhook(secret).sign("msg_1", datetime.now(UTC), body)
        return requests.post(url, body, headers=headers, timeout=60).status_code

    try:
        assert eventually(lambda: send(SECRET)) == 204
        assert send(SECRET) == 204
        assert send("whsec_AAAA") == 401
        assert program.text.count("signal.recorded") == 1
    finally:
        program.kill()
