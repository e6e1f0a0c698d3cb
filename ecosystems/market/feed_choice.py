"""The feed that `--feed` names."""

from pathlib import Path

from ecosystems.env import Environment
from ecosystems.market.csv_feed import CsvFeed
from ecosystems.market.feeds import Feed, FeedError
from ecosystems.market.synthetic_feed import SyntheticFeed


def open_feed(spec: str, ecosystem: str, environment: Environment | None = None) -> Feed:
    """Return the feed of `csv:PATH`, `synthetic`, `synthetic:SEED` or, with an environment, a live one.

    A live one is `live`, or `live:EXCHANGE` for crypto. Raises FeedError.
    """
    kind, _, rest = spec.partition(":")
    if kind == "csv" and rest:
        return CsvFeed(Path(rest))
    if kind == "synthetic" and (not rest or rest.isdecimal()):
        return SyntheticFeed(ecosystem, int(rest or 0))
    if kind == "live" and environment is not None:
        try:
            return _live_feed(ecosystem, rest, environment)
        except ModuleNotFoundError as error:
            raise FeedError(
                f"live prices of {ecosystem} need the package {error.name}: install signal-agent[{ecosystem}]"
            ) from error
    live = "" if environment is None else "live, "
    raise FeedError(f"invalid feed {spec!r}: it may be {live}csv:PATH, synthetic or synthetic:SEED")


def _live_feed(ecosystem: str, exchange: str, environment: Environment) -> Feed:
    """Return the ecosystem's live feed; its client is imported here, so that other feeds do without it."""
    if exchange and ecosystem != "crypto":
        raise FeedError(f"invalid feed 'live:{exchange}': only crypto has a choice of exchanges; write live")
    if ecosystem == "crypto":
        from ecosystems.crypto.feed import CcxtFeed

        return CcxtFeed(exchange or environment.ccxt_exchange, url=environment.ccxt_url)
    if ecosystem == "forex":
        from ecosystems.forex.feed import OandaFeed

        return OandaFeed(
            environment.oanda_token, live=environment.oanda_environment == "live", url=environment.oanda_url
        )
    from ecosystems.stock.feed import AlpacaFeed

    return AlpacaFeed(
        environment.alpaca_api_key,
        environment.alpaca_secret_key,
        live=environment.alpaca_environment == "live",
        data_feed=environment.alpaca_data_feed,
        data_url=environment.alpaca_data_url,
        trading_url=environment.alpaca_trading_url,
    )
