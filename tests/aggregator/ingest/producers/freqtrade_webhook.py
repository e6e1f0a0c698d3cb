"""Sends by freqtrade's own webhook class, in freqtrade's own environment: what a trade's life reports.

Reads a configuration from standard input: `{"webhook": {…}}`, as in freqtrade's own file.
"""

import json
import sys
from datetime import UTC, datetime

from freqtrade import __version__
from freqtrade.config_schema.config_schema import CONF_SCHEMA
from freqtrade.enums import RPCMessageType as Kind
from freqtrade.rpc.webhook import Webhook
from jsonschema import Draft4Validator

OPEN = datetime(2026, 1, 2, 16, 23, 4, 136192, tzinfo=UTC)
CLOSE = datetime(2026, 1, 2, 17, 23, 4, 136192, tzinfo=UTC)

# What `FreqtradeBot._notify_enter`, `_notify_exit` and the others put into a message.
TRADE = {
    "trade_id": 7,
    "buy_tag": None,
    "enter_tag": "breakout",
    "exchange": "Binance",
    "pair": "BTC/USDT",
    "base_currency": "BTC",
    "quote_currency": "USDT",
    "leverage": None,
    "direction": "Long",
    "limit": 64250.1,
    "order_rate": 64250.1,
    "open_rate": 64250.1,
    "order_type": "limit",
    "stake_amount": 642.5,
    "stake_currency": "USDT",
    "fiat_currency": None,
    "amount": 0.01,
    "open_date": OPEN,
    "current_rate": 64251.0,
    "sub_trade": False,
}
EXIT = {
    **TRADE,
    "close_rate": 65000.5,
    "close_date": CLOSE,
    "gain": "profit",
    "profit_amount": 7.5,
    "profit_ratio": 0.0117,
    "exit_reason": "roi",
    "cumulative_profit": 7.5,
    "final_profit_ratio": None,
    "is_final_exit": False,
}
MESSAGES = [
    {"type": Kind.STATUS, "status": "running"},
    {**TRADE, "type": Kind.ENTRY},
    {**TRADE, "type": Kind.ENTRY_FILL},
    {**TRADE, "type": Kind.ENTRY, "trade_id": 8, "direction": "Short", "order_type": "market"},
    {**EXIT, "type": Kind.EXIT},
    {**EXIT, "type": Kind.EXIT_CANCEL, "reason": "cancelled due to timeout"},
    {**EXIT, "type": Kind.EXIT_FILL, "is_final_exit": True},
    {**TRADE, "type": Kind.ENTRY_CANCEL, "trade_id": 8, "open_date": OPEN.replace(tzinfo=None)}
    | {"reason": "cancelled due to timeout, fully cancelled", "direction": "Short"},
]


def main() -> None:
    config = json.load(sys.stdin)
    Draft4Validator(CONF_SCHEMA["properties"]["webhook"]).validate(config["webhook"])
    webhook = Webhook(None, config)
    for message in MESSAGES:
        webhook.send_msg(message)
    sys.stdout.write(f"{__version__}\n")


main()
