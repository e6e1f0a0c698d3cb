"""Publishes signals to Redis by NautilusTrader's own node, in its own environment: REDIS_URL ENCODING."""

import json
import sys
from urllib.parse import urlsplit

from nautilus_trader import __version__
from nautilus_trader.common.signal import generate_signal_class
from nautilus_trader.config import DatabaseConfig, LoggingConfig, MessageBusConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import TraderId
from nautilus_trader.trading.strategy import Strategy

# A node publishes what is known before it is made.
CLASSES = {kind: generate_signal_class(f"Alpha{kind.__name__}", kind) for kind in (str, float)}
VALUES = (
    "BUY BTCUSDT-PERP.BINANCE @ 64250.1",
    json.dumps({"action": "SELL", "symbol": "ETHUSDT", "price": "3000.5"}),
    1.25,
)


class Alpha(Strategy):
    def on_start(self) -> None:
        for value in VALUES:
            kind, now = CLASSES[type(value)], self.clock.timestamp_ns()
            self.publish_data(DataType(kind), kind(value, now, now))


url = urlsplit(sys.argv[1])
database = DatabaseConfig(
    type="redis",
    host=url.hostname,
    port=url.port,
    username=url.username or None,
    password=url.password or None,
)
timeouts = ("connection", "reconciliation", "portfolio", "disconnection", "post_stop")
node = TradingNode(
    TradingNodeConfig(
        trader_id=TraderId("TRADER-001"),
        logging=LoggingConfig(log_level="ERROR"),
        message_bus=MessageBusConfig(database=database, encoding=sys.argv[2], stream_per_topic=False),
        **{f"timeout_{name}": 0.5 for name in timeouts},
    )
)
node.trader.add_strategy(Alpha())
node.build()
node.get_event_loop().call_later(2, node.stop)
node.run()
node.dispose()
sys.stdout.write(f"{__version__}\n")
