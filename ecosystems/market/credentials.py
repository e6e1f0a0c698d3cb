"""The typed environment of the market-data services. Imports no Django, and no service's client.

Read after `ecosystems.env.load`, which reads `.env`. Like there, `NAME_FILE` is accepted for every variable.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from ecosystems.env import InvalidEnvironment, http_url, name_text, read

__all__ = ["InvalidEnvironment", "Markets", "load"]


@dataclass(frozen=True)
class Markets:
    """What the environment says of exchanges and brokers. Keys stay out of `repr`."""

    ccxt_exchange: str
    ccxt_url: str | None
    """Stands in for the exchange's own host: a proxy or a stand-in."""
    oanda_token: str | None = field(repr=False)
    oanda_live: bool
    oanda_url: str | None
    alpaca_api_key: str | None = field(repr=False)
    alpaca_secret_key: str | None = field(repr=False)
    alpaca_live: bool
    alpaca_data_feed: str
    alpaca_data_url: str | None
    alpaca_trading_url: str | None


def load() -> Markets:
    """Read the environment. Raises ecosystems.env.InvalidEnvironment with one line."""
    return Markets(
        ccxt_exchange=read("CCXT_EXCHANGE", name_text, "the name of an exchange that ccxt knows", "binance"),
        ccxt_url=_url("CCXT_URL"),
        oanda_token=_key("OANDA_TOKEN"),
        oanda_live=read("OANDA_ENVIRONMENT", one_of("practice", "live"), "practice or live", "practice")
        == "live",
        oanda_url=_url("OANDA_URL"),
        alpaca_api_key=_key("ALPACA_API_KEY"),
        alpaca_secret_key=_key("ALPACA_SECRET_KEY"),
        alpaca_live=read("ALPACA_ENVIRONMENT", one_of("paper", "live"), "paper or live", "paper") == "live",
        alpaca_data_feed=read(
            "ALPACA_DATA_FEED", one_of("iex", "sip", "delayed_sip"), "iex, sip or delayed_sip", "iex"
        ),
        alpaca_data_url=_url("ALPACA_DATA_URL"),
        alpaca_trading_url=_url("ALPACA_TRADING_URL"),
    )


def one_of(*names: str) -> Callable[[str], str]:
    """Return a parser that takes these words alone, in any letter case."""

    def parse(text: str) -> str:
        if text.lower() not in names:
            raise ValueError
        return text.lower()

    return parse


def _url(name: str) -> str | None:
    url = read(name, http_url, "an http:// or https:// URL", None, secret=True)
    return url and url.rstrip("/")


def _key(name: str) -> str | None:
    return read(name, name_text, "a key in printable ASCII without spaces", None, secret=True)
