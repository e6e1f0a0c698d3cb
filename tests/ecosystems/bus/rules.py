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
    *(
        ("symbol", name)
        for name in ("BRK B", "Volatility 75 Index", "日経225", "Ξ é", "Δοκιμή", "بورصة", "हिन्दी", "😀/USD")
    ),
    ("symbol", "é" * 64),
    ("refers_to", None),
    ("refers_to", "!~" * 64),
    *(("signal_type", name) for name in ("MARKET", "LIMIT", "STOP", "ANALYTICS", "TRADE")),
    ("confidence", 0),
    ("confidence", 1),
    ("confidence", 0.1),
    ("confidence", None),
    ("agent_source", "ä" * 128),
    ("tags", [WIDE * 2] * 32),
    ("tags", [""]),
    ("raw_payload", {"x": [None, True, "ü\u200d", 1, {}]}),
    ("raw_payload", {"why\n": "first\r\n\tsecond\x01\x1f\x7f\x9f\u2028\u202e\ufeff"}),
]


FORBIDDEN = [
    *"\x01\n\x1f\x7f\x80\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f",
    *"\u2028\u2029\u202a\u202e\u2060\u2064\u2066\u2069\u206f\u3164\ufeff\uffa0\ufff9\ufffb\U000e0001\U000e007f",
]
"""What no text outside of `raw_payload` holds; beside NUL."""
NO_SYMBOL = [*"\xa0\u1680\u2000\u2009\u202f\u205f\u3000\ue000\uf8ff\ufdd0\uffff\U000f0000\U0010ffff"]

BAD = [
    *(
        (name, value, code)
        for name in ("signal_id", "refers_to")
        for value, code in [
            ("", "invalid_value"),
            ("a b", "invalid_value"),
            ("a\n", "invalid_value"),
            ("é", "invalid_value"),
            ("\x7f", "invalid_value"),
            ("x" * 129, "invalid_value"),
            (5, "wrong_type"),
        ]
    ),
    ("signal_id", None, "wrong_type"),
    *(
        ("symbol", value, "invalid_value")
        for value in (
            "",
            " ",
            " a",
            "a ",
            "a  b",
            "a\n",
            "a\tb",
            "\x7f",
            "x" * 65,
            "é" * 65,
            " é",
            "é ",
            "é  a",
        )
    ),
    *(("symbol", f"a{character}b", "invalid_value") for character in [*NO_SYMBOL, *FORBIDDEN]),
    ("symbol", 5, "wrong_type"),
    ("symbol", None, "wrong_type"),
    ("ecosystem", "CRYPTO", "unknown_ecosystem"),
    ("ecosystem", "bonds", "unknown_ecosystem"),
    ("ecosystem", None, "wrong_type"),
    ("action", "EXIT", "invalid_value"),
    ("action", None, "wrong_type"),
    ("action", "\u017fell", "invalid_value"),
    ("action", "", "invalid_value"),
    ("action", 1, "wrong_type"),
    ("signal_type", "MARKETS", "invalid_value"),
    ("signal_type", "lim\u0131t", "invalid_value"),
    ("signal_type", 5, "wrong_type"),
    ("confidence", 1.0001, "invalid_value"),
    ("confidence", -0.0001, "invalid_value"),
    ("confidence", True, "wrong_type"),
    ("confidence", "0.5", "wrong_type"),
    ("agent_source", "x" * 129, "invalid_value"),
    ("tags", ["x"] * 33, "invalid_value"),
    ("tags", ["x" * 65], "invalid_value"),
    ("tags", [1], "wrong_type"),
    ("tags", [["ema"]], "wrong_type"),
    ("tags", [[]], "wrong_type"),
    ("tags", ["x" * 64, []], "wrong_type"),
    ("tags", "ema", "wrong_type"),
    ("raw_payload", [], "wrong_type"),
]


def nested(levels, kind):
    value = 1
    for _ in range(levels - 1):
        value = [value] if kind is list else {"x": value}
    return {"x": value}
