import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
import standardwebhooks
from hypothesis import assume, given
from hypothesis import strategies as st

from ecosystems import signing

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
LEGACY = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def verified(secrets=(SECRET,), message_id=ID, timestamp=str(AT), signatures=SIGNATURE, body=BODY, now=AT):
    return signing.verify(list(secrets), message_id, timestamp, signatures, body, now)


def test_the_vector_of_standard_webhooks():
    assert signing.sign(SECRET, ID, AT, BODY) == SIGNATURE
    assert verified()


def test_the_legacy_vector():
    assert signing.verify_legacy(["It's a Secret to Everybody"], LEGACY, b"Hello, World!")


@pytest.mark.parametrize("text", ["{}", "\0", '["\u00e4\u20ac\U0001f600"]'])
def test_an_independent_client_and_we_accept_each_other(text):
    now, client = datetime.now(UTC), standardwebhooks.Webhook(SECRET)
    seconds = int(now.timestamp())
    assert verified(
        message_id="msg-1",
        timestamp=str(seconds),
        signatures=client.sign("msg-1", now, text),
        body=text.encode(),
        now=seconds,
    )
    client.verify(b'{"x":1}', signing.headers(SECRET, "msg-2", seconds, b'{"x":1}'))


@pytest.mark.parametrize(
    ("drift", "passes"),
    [(0, True), (300, True), (300.9, True), (-300, True), (301, False), (-300.1, False), (-301, False)],
)
def test_a_timestamp_is_within_five_minutes_either_way(drift, passes):
    assert verified(now=AT + drift) is passes


@pytest.mark.parametrize(
    ("timestamp", "now"),
    [
        ("161426533", 161426533),
        ("16142653300", 16142653300),
        ("-614265330", -614265330),
        *(
            (text, AT)
            for text in ("01614265330", " 1614265330", "1614265330\n", "1614265330.0", "+1614265330")
        ),
        *((text, AT) for text in ("16142_65330", "\u0661614265330", "2021-02-25", "0x60380000", "")),
    ],
)
def test_a_timestamp_is_ten_ascii_digits(timestamp, now):
    signed = hmac.digest(signing.key_of(SECRET), f"{ID}.{timestamp}.".encode() + BODY, "sha256")
    signatures = f"{signing.sign(SECRET, ID, now, BODY)} v1,{base64.b64encode(signed).decode()}"
    assert not verified(timestamp=timestamp, signatures=signatures, now=now)


@pytest.mark.parametrize("message_id", ["", "x" * 257, "a b", "a.b", "a,b", "ä", "a\n", "../a"])
def test_an_id_is_1_to_256_plain_characters(message_id):
    assert not verified(message_id=message_id, signatures=signing.sign(SECRET, message_id, AT, BODY))
    assert verified(message_id="x-_" * 85, signatures=signing.sign(SECRET, "x-_" * 85, AT, BODY))
    assert verified(message_id="x" * 256, signatures=signing.sign(SECRET, "x" * 256, AT, BODY))


def test_any_v1_of_at_most_ten_signatures_passes():
    assert verified(signatures=f"v1,AAAA {SIGNATURE}")
    assert verified(signatures=f"v1a,AAAA v2,AAAA {SIGNATURE} garbage")
    assert verified(signatures=" ".join(["v1,AAAA"] * 9 + [SIGNATURE]))
    assert not verified(signatures=" ".join(["v1,AAAA"] * 10 + [SIGNATURE]))
    assert not verified(signatures=" ".join([SIGNATURE] + ["v1,AAAA"] * 10))


@pytest.mark.parametrize(
    "signatures",
    [
        "",
        " ",
        "v1",
        "v1,",
        SIGNATURE[3:],
        SIGNATURE.replace("v1", "V1"),
        SIGNATURE.replace("v1", "v1a"),
        SIGNATURE.replace("v1", "v2"),
        SIGNATURE[:-1],
        f"{SIGNATURE}=",
        SIGNATURE.replace(",", ", "),
        SIGNATURE.replace(",", ";"),
        SIGNATURE.lower(),
        f"{SIGNATURE},{SIGNATURE}",
        "v1,ÿ\x00😀",
        "v1," + hmac.digest(signing.key_of(SECRET), b"", hashlib.sha256).hex(),
    ],
)
def test_no_other_signature_passes(signatures):
    assert not verified(signatures=signatures)


def test_any_of_several_secrets_passes_and_none_does_not():
    assert verified(secrets=["other", SECRET])
    assert not verified(secrets=["other", SECRET.replace("M", "N", 1)])
    assert not verified(secrets=[])
    assert not signing.verify_legacy([], LEGACY, b"Hello, World!")


def test_a_secret_is_base64_after_whsec_and_else_any_text():
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert signing.key_of(SECRET) == key
    assert signing.key_of("whsec_YQ") == signing.key_of("whsec_YQ==") == b"a"
    assert signing.key_of("ä whsec_") == "ä whsec_".encode()
    assert signing.sign("plain", ID, AT, BODY) == standardwebhooks.Webhook(
        base64.b64encode(b"plain").decode()
    ).sign(ID, datetime.fromtimestamp(AT, UTC), BODY.decode())
    with pytest.raises(ValueError, match="base64"):
        signing.key_of("whsec_not base64")


def test_legacy_hex_may_be_of_either_case_and_of_either_key():
    body = b"{}"
    as_text = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    decoded = hmac.new(signing.key_of(SECRET), body, hashlib.sha256).hexdigest()
    for signature in (as_text, as_text.upper(), decoded):
        assert signing.verify_legacy(["other", SECRET], signature, body)


@pytest.mark.parametrize("signature", ["", LEGACY[:-1], LEGACY + "0", f"sha256={LEGACY}", "ÿ" * 64, "😀"])
def test_no_other_legacy_signature_passes(signature):
    assert not signing.verify_legacy(["It's a Secret to Everybody"], signature, b"Hello, World!")


@given(st.binary(), st.binary())
def test_a_signature_is_for_one_body_alone(body, other):
    assume(body != other)
    assert verified(signatures=signing.sign(SECRET, ID, AT, body), body=body)
    assert not verified(signatures=signing.sign(SECRET, ID, AT, body), body=other)
    assert not signing.verify_legacy([SECRET], hmac.digest(SECRET.encode(), body, "sha256").hex(), other)


@given(st.text(), st.text(), st.text(), st.binary())
def test_no_header_makes_it_raise(message_id, timestamp, signatures, body):
    assert not verified(message_id=message_id, timestamp=timestamp, signatures=signatures, body=body)
    assert not signing.verify_legacy([SECRET], signatures, body)


def test_the_id_and_the_time_are_signed():
    assert not verified(message_id=ID[:-1])
    assert not verified(timestamp=str(AT + 1))
