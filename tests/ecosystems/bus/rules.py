"""What the fields of a signal may hold and what not, for `parse` and for the table alike."""

from ecosystems import ECOSYSTEMS

LEAST = {
    "signal_id": "s-1",
    "ecosystem": "crypto",
    "timestamp": "2026-03-01T11:59:00Z",
    "symbol": "BTC/USDT",
    "action": "BUY",
}
WIDE = "x" * 31 + "é"
GOOD = [
    ("signal_id", "!~" * 64),
    ("signal_id", "whale:0x1\\"),
    *(("ecosystem", name) for name in ECOSYSTEMS),
    ("symbol", "~" * 64),
    *(("signal_type", name) for name in ("MARKET", "LIMIT", "STOP", "ANALYTICS", "TRADE")),
    ("confidence", 0),
    ("confidence", 1),
    ("confidence", 0.1),
    ("confidence", None),
    ("agent_source", "ä" * 128),
    ("tags", [WIDE * 2] * 32),
    ("tags", [""]),
    ("raw_payload", {"x": [None, True, "ü\u200d", 1, {}]}),
]


BAD = [
    *(
        (name, value, code)
        for name in ("signal_id", "symbol")
        for value, code in [
            ("", "invalid_value"),
            ("a b", "invalid_value"),
            ("a\n", "invalid_value"),
            ("é", "invalid_value"),
            ("\x7f", "invalid_value"),
            (5, "wrong_type"),
            (None, "wrong_type"),
        ]
    ),
    ("signal_id", "x" * 129, "invalid_value"),
    ("symbol", "x" * 65, "invalid_value"),
    ("ecosystem", "CRYPTO", "unknown_ecosystem"),
    ("ecosystem", "bonds", "unknown_ecosystem"),
    ("ecosystem", None, "wrong_type"),
    ("action", "CLOSE", "invalid_value"),
    ("action", "\u017fell", "invalid_value"),
    ("action", "", "invalid_value"),
    ("action", 1, "wrong_type"),
    ("signal_type", "market", "invalid_value"),
    ("signal_type", None, "wrong_type"),
    ("confidence", 1.0001, "invalid_value"),
    ("confidence", -0.0001, "invalid_value"),
    ("confidence", True, "wrong_type"),
    ("confidence", "0.5", "wrong_type"),
    ("agent_source", "x" * 129, "invalid_value"),
    ("agent_source", None, "wrong_type"),
    ("tags", ["x"] * 33, "invalid_value"),
    ("tags", ["x" * 65], "invalid_value"),
    ("tags", [1], "wrong_type"),
    ("tags", [["ema"]], "wrong_type"),
    ("tags", [[]], "wrong_type"),
    ("tags", ["x" * 64, []], "wrong_type"),
    ("tags", "ema", "wrong_type"),
    ("tags", None, "wrong_type"),
    ("raw_payload", [], "wrong_type"),
    ("raw_payload", None, "wrong_type"),
]


FORBIDDEN = ["\0", "\x01", "\n", "\x1f", "\x7f", "\x80", "\x9f", "\u202a", "\u202e", "\u2066", "\u2069"]


def nested(levels, kind):
    value = 1
    for _ in range(levels - 1):
        value = [value] if kind is list else {"x": value}
    return {"x": value}
