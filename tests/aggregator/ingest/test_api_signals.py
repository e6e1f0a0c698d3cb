import json
from dataclasses import replace
from ipaddress import ip_network

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aggregator.http import api_keys
from aggregator.models import Agent, ApiKey, ArrivalMinute, DeadLetter, Sighting, TradingSignal
from tests.aggregator.ingest.receiver_client import ReceiverClient
from tests.aggregator.ingest.senders import as_bytes, legacy, standard, wire

pytestmark = pytest.mark.django_db(transaction=True)
KEYS = (("scout", "hunter2"), ("spare", "hunter3"))


@pytest.fixture
def environment(settings, redis_client):
    """Set variables of the hub: `environment(webhook_rate="1/minute")`. Rates are counted anew."""

    def change(**values):
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, **values)

    change()
    return change


@pytest.fixture(scope="module")
def receiver():
    return ReceiverClient()


@pytest.fixture(params=["web", "receiver"])
def server(request, client, receiver):
    """Both servers of the webhook, one after the other: each answers all that is asked here alike."""
    return client if request.param == "web" else receiver


@pytest.fixture
def post(server, environment):
    """POST to the webhook; signed unless `headers` are given, and `also` beside them."""
    return poster(server)


def poster(server):

    def send(content, headers=None, also=(), content_type="application/json", **meta):
        body = as_bytes(content)
        headers = standard(body) if headers is None else headers
        return server.generic(
            "POST", "/api/signals", body, content_type, headers=headers | dict(also), **meta
        )

    return send


def problem(response, status, code):
    """Check that an answer is a problem of this kind and return its JSON."""
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    members = response.json()
    assert (members["status"], members["code"]) == (status, code)
    assert members["type"] == "about:blank"
    assert members["title"]
    assert members["detail"]
    assert members["request_id"] == response["X-Request-ID"]
    return members


def kept():
    """What is on record of what came in: rows of the ledger, raw bytes of dead letters."""
    rows = list(TradingSignal.objects.order_by("position").values_list("signal_id", flat=True))
    return rows, [bytes(raw) for raw in DeadLetter.objects.order_by("id").values_list("raw", flat=True)]


def test_a_signal_is_accepted_and_committed(post, count_arrivals):
    response = post(wire())
    assert response.status_code == 202
    assert response["Content-Type"] == "application/json"
    assert response.json() == {"status": "accepted", "accepted": 1, "duplicates": 0, "rejected": []}
    row = TradingSignal.objects.get()
    assert (row.transport, row.instrument, row.action) == ("webhook", "BTC/USDT", "BUY")
    assert row.position is not None
    count_arrivals()
    assert Agent.objects.get().signals == ArrivalMinute.objects.get().accepted == 1


def test_the_same_again_is_a_duplicate_and_a_sighting(post):
    post(wire())
    response = post([wire(), wire(action="buy")], REMOTE_ADDR="192.0.2.7")
    assert response.status_code == 200
    assert response.json() == {"status": "duplicate", "accepted": 0, "duplicates": 2, "rejected": []}
    assert TradingSignal.objects.count() == 1
    assert set(Sighting.objects.values_list("transport", "sender")) == {("webhook", "192.0.2.7")}


def test_an_array_is_judged_one_by_one(post):
    post([wire("old"), wire("taken")])
    content = [
        wire("new"),
        wire("old"),
        wire("bad", symbol="a  b"),
        5,
        wire("taken", action="SELL"),
        wire("new"),
    ]
    response = post(content)
    assert response.status_code == 202
    assert response.json() == {
        "status": "accepted",
        "accepted": 1,
        "duplicates": 2,
        "rejected": [
            {
                "index": 2,
                "signal_id": "bad",
                "code": "invalid_value",
                "detail": "symbol must be 1 to 64 printable characters, with single spaces inside only",
            },
            {"index": 3, "signal_id": None, "code": "not_an_object", "detail": "a signal is a JSON object"},
            {
                "index": 4,
                "signal_id": "taken",
                "code": "conflict",
                "detail": "another signal with this ecosystem and signal_id, but other content, is on record",
            },
        ],
    }
    rows, dead = kept()
    assert rows == ["old", "taken", "new"]
    assert sorted(dead) == sorted(as_bytes(content[index]) for index in (2, 3, 4))


def test_a_duplicate_beside_refused_ones_is_no_error(post):
    post(wire())
    response = post([wire(), {}])
    assert response.status_code == 200
    assert response.json()["rejected"][0]["code"] == "missing_field"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "not_json"),
        (b"{}x", "not_json"),
        (b"action=BUY", "not_json"),
        (b'[{"signal_id":1},]', "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b"\xff\xfe{\x00}\x00", "not_utf8"),
        (b'{"agent_source": "\xe4"}', "not_utf8"),
        (b'"text"', "not_object_or_array"),
        (b"null", "not_object_or_array"),
        (b"[" * 100_000, "json_too_deep"),
        (b'{"raw_payload":' * 50_000, "json_too_deep"),
    ],
)
def test_a_body_that_is_no_json_of_signals_is_refused_and_kept(post, body, code):
    members = problem(post(body), 400, code)
    assert "errors" not in members
    assert kept() == ([], [body[:65_536]])


@pytest.mark.parametrize("body", [b"", b" \n", b"[]", b" [ ] "])
def test_nothing_at_all_is_refused(post, body):
    problem(post(body, CONTENT_LENGTH=str(len(body)), CONTENT_TYPE="application/json"), 400, "empty")
    assert kept() == ([], [])


def only(headers, *names):
    return {name: value for name, value in headers.items() if name in names}


BAD_AUTHENTICATIONS = {
    "nothing": lambda _: {},
    "another secret": lambda body: standard(body, "whsec_b3RoZXI="),
    "another body": lambda body: standard(body + b" "),
    "too old": lambda body: standard(body, late=301),
    "too early": lambda body: standard(body, late=-360),
    "no id": lambda body: only(standard(body), "webhook-timestamp", "webhook-signature"),
    "no time": lambda body: only(standard(body), "webhook-id", "webhook-signature"),
    "no signature": lambda body: only(standard(body), "webhook-id", "webhook-timestamp"),
    "another id": lambda body: standard(body) | {"webhook-id": "other"},
    "another time": lambda body: standard(body) | only(standard(body, late=2), "webhook-timestamp"),
    "no v1": lambda body: (
        standard(body) | {"webhook-signature": "v2," + standard(body)["webhook-signature"][3:]}
    ),
    "eleven": lambda body: (
        (good := standard(body)) | {"webhook-signature": " ".join([good["webhook-signature"]] * 11)}
    ),
    "an unknown key": lambda body: standard(body) | {"Authorization": "Bearer hunter9"},
    "an empty key": lambda body: standard(body) | {"X-API-Key": ""},
    "a key without a signature": lambda _: {"X-API-Key": "hunter2"},
    "another legacy secret": lambda body: legacy(body, "other"),
    "legacy beside a standard header": lambda body: legacy(body) | {"webhook-id": "msg-1"},
    "legacy beside any webhook header": lambda body: legacy(body) | {"webhook-anything": ""},
    "the bytes of no text": lambda body: standard(body) | {"webhook-signature": "v1,\xff\x80 \xad"},
}


@pytest.mark.parametrize("headers", BAD_AUTHENTICATIONS.values(), ids=BAD_AUTHENTICATIONS)
def test_whoever_proves_nothing_learns_nothing_and_leaves_nothing(post, environment, headers):
    environment(api_keys=KEYS, webhook_require_key=False)
    answers = [post(wire(), headers(as_bytes(wire()))), post(b"no json", {})]
    for answer in answers:
        problem(answer, 401, "unauthenticated")
        assert answer["WWW-Authenticate"].startswith("Bearer")
    said = [answer.json() | {"request_id": ""} for answer in answers]
    assert said[0] == said[1]
    assert kept() == ([], [])
    assert not Agent.objects.exists()
    assert not ArrivalMinute.objects.exists()


def test_without_a_secret_and_keys_nobody_is_let_in(post, environment):
    environment(event_webhook_secret=None, webhook_require_key=False)
    for headers in (standard(as_bytes(wire()), ""), legacy(as_bytes(wire()), ""), {}):
        problem(post(wire(), headers), 401, "unauthenticated")


@pytest.mark.parametrize("late", [280, -299])
def test_five_minutes_either_way_are_allowed(post, late):
    """To the second in the tests of signing; here the request itself may take some of them."""
    assert post(wire(), standard(as_bytes(wire()), late=late)).status_code == 202


def test_a_replayed_request_changes_nothing(post):
    headers = standard(as_bytes(wire()))
    assert [post(wire(), headers).status_code for _ in range(3)] == [202, 200, 200]
    assert TradingSignal.objects.count() == 1


def test_any_of_ten_signatures_passes(post):
    headers = standard(as_bytes(wire()))
    headers["webhook-signature"] = " ".join(["v1,AAAA"] * 9 + [headers["webhook-signature"]])
    assert post(wire(), headers).status_code == 202


def test_the_first_generation_of_agents_is_accepted(post):
    also = {"X-Signal-Id": "else", "X-Ecosystem": "stock", "X-Topic": "executed_trades"}
    assert post(wire(), legacy(as_bytes(wire())), also).status_code == 202
    assert TradingSignal.objects.values_list("signal_id", "ecosystem").get() == ("s-1", "crypto")


def test_unless_told_otherwise(post, environment):
    environment(webhook_allow_legacy=False)
    problem(post(wire(), legacy(as_bytes(wire()))), 401, "unauthenticated")
    assert post(wire()).status_code == 202


def test_where_a_key_is_required_the_signature_alone_is_not_enough(post, environment):
    environment(api_keys=KEYS, webhook_require_key=True)
    problem(post(wire()), 401, "unauthenticated")
    problem(post(wire(), legacy(as_bytes(wire()))), 401, "unauthenticated")
    for number, name in enumerate(("Authorization", "X-API-Key")):
        value = "bearer hunter3" if name == "Authorization" else "hunter2"
        assert post(wire(f"s-{number}"), also={name: value}).status_code == 202
    bad = wire("bad", symbol="")
    post(bad, also={"X-API-Key": "hunter2"})
    assert DeadLetter.objects.values_list("sender", flat=True).get() == "key:scout"


@pytest.fixture
def grant(environment):
    """Make a key that is kept in the database: `grant(scopes=["read"])`."""

    def make(**fields):
        now = timezone.now()
        key = ApiKey(key_id="desk", **{"created_at": now, "scopes": ["publish"]} | fields)
        return api_keys.auth_manager(settings.ENVIRONMENT).issue(key)

    return make


def test_a_keys_own_secret_signs_and_only_beside_the_key(post, grant):
    key = grant()
    headers = standard(as_bytes(wire()), key.signing_secret)
    problem(post(wire(), headers), 401, "unauthenticated")
    assert post(wire(), headers, {"Authorization": f"Bearer {key.value}"}).status_code == 202
    assert TradingSignal.objects.get().sender == "key:desk"
    assert (
        post(wire(), legacy(as_bytes(wire()), key.signing_secret), {"X-API-Key": key.value}).status_code
        == 200
    )
    assert post(wire(), also={"X-API-Key": key.value}).status_code == 200


def test_a_key_of_agents_publishes_as_no_other(post, grant):
    key = {"X-API-Key": grant(agents=["scout", "bot 2"]).value}
    assert post(wire("a", agent_source="scout"), also=key).status_code == 202
    assert post(wire("b", agent_source="bot 2"), also=key).status_code == 202
    for name in ("Scout", "other", "", None):
        members = problem(post(wire("c", agent_source=name), also=key), 403, "agent_forbidden")
        assert [(error["field"], error["code"]) for error in members["errors"]] == [
            ("agent_source", "agent_forbidden")
        ]
    mixed = post([wire("d", agent_source="scout"), wire("e", agent_source="other")], also=key)
    assert (mixed.status_code, mixed.json()["accepted"]) == (202, 1)
    assert [each["code"] for each in mixed.json()["rejected"]] == ["agent_forbidden"]
    assert sorted(TradingSignal.objects.values_list("signal_id", flat=True)) == ["a", "b", "d"]
    assert DeadLetter.objects.filter(code="agent_forbidden", sender="key:desk").count() == 5
    assert post(wire("c", agent_source="other")).status_code == 202, "the shared secret is of no agent"


def test_a_key_that_may_only_read_publishes_nothing(post, grant):
    value = grant(scopes=["read"]).value
    problem(post(wire(), also={"X-API-Key": value}), 403, "scope_missing")
    assert TradingSignal.objects.count() == 0


def test_a_key_writes_to_its_own_ecosystems_alone(post, grant):
    also = {"X-API-Key": grant(ecosystems=["forex", "stock"]).value}
    refused = problem(post(wire(), also=also), 403, "ecosystem_forbidden")
    assert [error["index"] for error in refused["errors"]] == [0]
    mixed = post([wire("a"), wire("b", ecosystem="forex"), wire("c", ecosystem="stock")], also=also)
    assert mixed.json()["accepted"] == 2
    assert mixed.json()["rejected"][0]["code"] == "ecosystem_forbidden"
    rows, dead = kept()
    assert (rows, sorted(dead)) == (["b", "c"], sorted([as_bytes(wire()), as_bytes(wire("a"))]))
    assert set(DeadLetter.objects.values_list("sender", flat=True)) == {"key:desk"}


def test_a_conflict_leaves_the_first_and_keeps_the_second(post):
    post(wire())
    problem(post(wire(action="SELL")), 409, "conflict")
    assert TradingSignal.objects.get().action == "BUY"
    assert kept() == (["s-1"], [as_bytes(wire(action="SELL"))])


def test_the_length_must_be_told_before_the_body(post):
    problem(post(wire(), CONTENT_LENGTH=""), 411, "length_required")


def test_too_many_bytes_are_refused_before_the_signature_is_looked_at(post, environment):
    environment(webhook_max_bytes=len(as_bytes(wire())))
    assert post(wire()).status_code == 202
    problem(post(as_bytes(wire()) + b" ", {}), 413, "too_large")
    for length in ("1e3", "-1", "9" * 5000, "٣"):
        problem(post(wire(), {}, CONTENT_LENGTH=length), 413, "too_large")


def test_too_many_signals_are_refused(post, environment):
    environment(webhook_max_signals=2)
    assert post([wire("a"), wire("b")]).json()["accepted"] == 2
    problem(post([wire("c"), wire("d"), wire("e")]), 413, "too_many_signals")
    assert kept() == (["a", "b"], [])


@pytest.mark.parametrize(
    "content_type",
    [
        *("", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "text/json", ";"),
        *("application/json; charset=latin-1", "application/json; charset=utf-16", 'application/json"'),
    ],
)
def test_another_type_or_charset_is_refused(post, content_type):
    assert post(wire(), content_type=content_type).status_code == 415


@pytest.mark.parametrize(
    "content_type",
    ["Application/JSON", "application/json;charset=UTF-8", 'application/json; charset="utf-8"; x=y'],
)
def test_json_in_utf_8_is_accepted_however_it_is_spelled(post, content_type):
    assert post(wire(), content_type=content_type).status_code == 202


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_an_encoded_body_is_refused(post, encoding):
    problem(post(wire(), also={"Content-Encoding": encoding}), 415, "encoded")


def test_the_encoding_that_changes_nothing_is_accepted(post):
    assert post(wire(), also={"Content-Encoding": "Identity"}).status_code == 202


def test_signals_that_all_break_the_rules_are_told_why_and_kept(post):
    content = [wire("a", action="EXIT"), {"ecosystem": "crypto"}, [], wire("b", entry_price=-1)]
    members = problem(post(content), 422, "invalid")
    assert [(error["index"], error["field"], error["code"]) for error in members["errors"]] == [
        (0, "action", "invalid_value"),
        (1, "signal_id", "missing_field"),
        (2, None, "not_an_object"),
        (3, "entry_price", "out_of_range"),
    ]
    assert all(set(error) == {"index", "field", "code", "detail"} for error in members["errors"])
    assert sorted(kept()[1]) == sorted(map(as_bytes, content))


def test_one_signal_that_breaks_the_rules_is_kept_as_it_came(post):
    body = b' {"signal_id" :"x", "ecosystem":"forex","agent_source":"scout", "secret": "\\u0000"}\n'
    problem(post(body), 422, "invalid")
    letter = DeadLetter.objects.get()
    assert (bytes(letter.raw), letter.transport, letter.sender) == (body, "webhook", "127.0.0.1")
    assert (letter.ecosystem, letter.signal_id, letter.agent_source) == ("forex", "x", "scout")


def test_a_sender_who_repeats_itself_makes_one_dead_letter(post):
    for _ in range(3):
        post(b"no json")
    assert DeadLetter.objects.values_list("times", flat=True).get() == 3


def test_a_sender_over_its_rate_is_told_when_to_come_back(post, environment):
    environment(webhook_rate="2/minute")
    assert [post(wire(f"s-{number}")).status_code for number in range(3)] == [202, 202, 429]
    limited = post(wire())
    problem(limited, 429, "rate_limited")
    assert 1 <= int(limited["Retry-After"]) <= 60
    assert post(wire("other"), REMOTE_ADDR="192.0.2.1").status_code == 202
    assert kept()[0] == ["s-0", "s-1", "other"]


def test_a_sender_with_a_key_is_the_key_wherever_it_sends_from(post, environment):
    environment(webhook_rate="1/hour", api_keys=KEYS)
    assert post(wire(), also={"X-API-Key": "hunter2"}).status_code == 202
    assert post(wire(), also={"X-API-Key": "hunter2"}, REMOTE_ADDR="192.0.2.1").status_code == 429
    assert post(wire(), also={"X-API-Key": "hunter3"}).status_code == 200


def test_an_address_that_fails_too_often_is_told_so_and_others_go_on(post, environment):
    environment(webhook_failed_rate="2/minute", webhook_rate=None)
    assert [post(wire(), {}).status_code for _ in range(3)] == [401, 401, 429]
    limited = post(wire(), {})
    problem(limited, 429, "rate_limited")
    assert 1 <= int(limited["Retry-After"]) <= 60
    assert post(wire(), {}, REMOTE_ADDR="192.0.2.1").status_code == 401
    assert post(wire()).status_code == 202


def test_without_redis_each_process_counts_for_itself(post, environment, free_port, caplog):
    environment(webhook_rate="1/day", redis_url=f"redis://127.0.0.1:{free_port}")
    assert [post(wire()).status_code for _ in range(2)] == [202, 429]
    assert post(wire(), REMOTE_ADDR="192.0.2.1").status_code == 200
    assert caplog.text.count("counting rate limits in this process only") == 1


@pytest.mark.parametrize(
    ("peer", "forwarded", "sender"),
    [
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "'; DROP TABLE, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_only_trusted_proxies_say_where_a_request_came_from(post, environment, peer, forwarded, sender):
    environment(trusted_proxies=(ip_network("10.0.0.0/8"),))
    post(b"no json", also={"X-Forwarded-For": forwarded}, REMOTE_ADDR=peer)
    assert DeadLetter.objects.values_list("sender", flat=True).get() == sender


def test_another_method_or_address_is_a_problem_too(server):
    refused = server.get("/api/signals")
    problem(refused, 405, "method_not_allowed")
    assert refused["Allow"] == "POST"
    problem(server.post("/api/signals/"), 404, "not_found")
    problem(server.post("/api/signals", headers={"Host": "evil.example"}), 400, "bad_request")


def test_while_postgres_is_down_the_sender_is_told_to_come_back(
    postgres_server, environment, client, receiver
):
    servers = poster(client), poster(receiver)
    assert [post(wire("before")).status_code for post in servers] == [202, 200]
    postgres_server.stop()
    for post in servers:
        for answer in (post(wire("during")), post(b"no json"), post(wire(), also={"X-API-Key": "unknown"})):
            problem(answer, 503, "unavailable")
            assert int(answer["Retry-After"]) >= 1
        problem(post(wire(), {}), 401, "unauthenticated")
    postgres_server.start()
    assert [post(wire("during")).status_code for post in servers] == [202, 200]
    assert kept() == (["before", "during"], [])


def test_answers_and_logs_never_show_what_was_sent(post, environment, caplog):
    environment(api_keys=KEYS, webhook_require_key=False, webhook_failed_rate="1/minute")
    caplog.set_level("DEBUG")
    body = as_bytes(wire(action="sesame", sesame="sesame", tags=["sesame" * 20], symbol="se same"))
    signatures = standard(body)
    answers = [
        post(body, signatures, {"X-API-Key": "hunter2"}),
        post(body[:-1]),
        post(b'{"sesame"'),
        post([json.loads(body), "sesame"]),
        *(post(body, {"webhook-id": "sesame", "webhook-signature": "v1,sesame"}) for _ in range(2)),
        post(body, also={"Authorization": "Bearer sesame"}),
    ]
    assert [answer.status_code for answer in answers] == [422, 400, 400, 422, 401, 429, 429]
    said = [*(answer.content.decode() + str(answer.headers) for answer in answers), caplog.text]
    for secret in ("sesame", "hunter2", signatures["webhook-signature"]):
        assert not [text for text in said if secret in text]


def alike(answer):
    """What of an answer both servers must give: all but the request's id."""
    request_id = answer["X-Request-ID"]
    headers = {name.lower(): value for name, value in answer.headers.items()} | {"x-request-id": ""}
    return answer.status_code, headers, answer.content.replace(request_id.encode(), b"")


def requests_of_all_kinds(post):
    """One request after another, whose answers depend on the earlier ones."""
    yield post(wire())
    yield post(wire())
    yield post(wire(action="SELL"))
    yield post([wire("a"), wire(), {}, 5, wire("a", action="SELL")])
    yield post([wire("b", symbol=""), {"ecosystem": "crypto"}])
    for body in (b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"raw_payload":' * 50_000):
        yield post(body)
    for headers in BAD_AUTHENTICATIONS.values():
        yield post(wire("c"), headers(as_bytes(wire("c"))))
    for also in ({"X-API-Key": "hunter2"}, {"Content-Encoding": "gzip"}, {"Content-Encoding": "identity"}):
        yield post(wire("d"), also=also)
    for content_type in ("", "text/plain", "application/json; charset=latin-1", "application/json;x=y"):
        yield post(wire("e"), content_type=content_type)
    for length in ("", "9" * 30, "-1", "1048577"):
        yield post(wire(), CONTENT_LENGTH=length)
    yield post(wire("f"), also={"Host": "evil.example"})
    yield post(wire("g"), also={"Host": ""})


def test_both_servers_answer_with_the_same_bytes(environment, client, receiver):
    environment(api_keys=KEYS, webhook_require_key=False, webhook_failed_rate="1000/minute")
    answers = []
    for server in (client, receiver):
        answers.append([alike(answer) for answer in requests_of_all_kinds(poster(server))])
        TradingSignal.objects.all().delete()
    for at_web, at_receiver in zip(*answers, strict=True):
        assert at_web == at_receiver


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just("1e99999999999999999999"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fields = st.dictionaries(
    st.sampled_from(
        [*wire(), "entry_price", "volume", "confidence", "tags", "raw_payload", "agent_source", "x"]
    ),
    json_values,
    max_size=3,
).map(lambda changes: wire() | changes)
bodies = st.one_of(
    st.binary(max_size=40),
    fields.map(as_bytes),
    st.lists(fields | json_values, max_size=4).map(as_bytes),
    st.builds(lambda content, at: as_bytes(content)[:at], fields, st.integers(0, 60)),
    st.just(as_bytes(wire())[:-1] + b',"x":1e99999999999999999999}'),
)
header_values = st.text(
    st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=30
)
header_names = st.sampled_from(
    [
        *(
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "X-Signature",
            "Authorization",
            "X-API-Key",
        ),
        *("Content-Encoding", "X-Forwarded-For", "Content-Type", "Content-Length", "X-Signal-Id"),
    ]
)


@hypothesis_settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bodies, st.dictionaries(header_names, header_values, max_size=3), st.booleans())
def test_no_request_makes_a_500(post, environment, body, headers, signed):
    environment(trusted_proxies=(ip_network("127.0.0.1"),), webhook_failed_rate="900000000/second")
    response = post(body, (standard(body) if signed else {}) | headers)
    assert response.status_code in {200, 202, 400, 401, 409, 411, 413, 415, 422}
    if response.status_code >= 400:
        problem(response, response.status_code, response.json()["code"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM trading_signals WHERE position IS NULL")
        assert cursor.fetchone() == (0,)
