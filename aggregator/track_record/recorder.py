"""Recording prices: candles of every instrument that an undecided call, or an operator, needs.

Workers share the work by claims that expire. What is on record already is left as it is, so fetching again
is harmless: each fetch begins a little before the end of the last one, once an hour a day before, so that
candles that came late or were missing are found.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import DateTimeField, F, Value
from django.db.models.functions import Coalesce, Greatest, Now

from aggregator.ledger.errors import classified
from aggregator.models import Outcome, PriceRecording
from aggregator.postgres.pool import release_connections
from aggregator.track_record import sql
from aggregator.worker import Loop
from ecosystems import ECOSYSTEMS
from ecosystems.market.candles import Candle, duration
from ecosystems.market.csv_feed import MIN_PRICE, CsvFeed
from ecosystems.market.feed_choice import open_feed
from ecosystems.market.feeds import Feed, FeedError, FeedOutage
from ecosystems.market.symbols import instrument
from ecosystems.signal import MAX_DECIMALS, MAX_PRICE

logger = logging.getLogger("signal_hub.prices")

TIMEFRAMES = ("1m", "5m", "15m", "1h", "1d")
"""A minute where the feed has it, else the next longer ones."""
REFETCH_SPAN = timedelta(minutes=10)
HOURLY_REFETCH_SPAN = timedelta(days=1)
CLOSE_GRACE = timedelta(seconds=3)
MAX_RETRY_S = 600.0
STORED_AT_ONCE = 1000
CSV_FEED = "csv"
MAX_YEAR = 9000
"""The table takes no candle of this year or later."""
MAX_VOLUME = Decimal(10) ** 30
MAX_VOLUME_DECIMALS = 16_383
"""As many as Postgres keeps."""

NEEDED = f"""
    INSERT INTO price_recordings (ecosystem, instrument, feed)
    SELECT DISTINCT call.ecosystem, call.instrument, {sql.FEED}
    FROM outcomes AS call JOIN trading_signals AS ledger ON ledger.position = call.position
    WHERE call.state IN ('waiting', 'open') AND (NOT call.simulated OR ledger.tags ? 'synthetic')
    ON CONFLICT DO NOTHING"""

# A call that is unpriced may be priced after all where its time for a fill is not recorded yet: it was moved
# to this instrument, or the feed was out of reach. `scored_to` of it is the end of that time.
# Its first condition on `state` is that of the index `outcomes_decided`.
CLAIM_RECORDING = """
    WITH due AS (
        SELECT id, needed_from FROM price_recordings AS recording
        CROSS JOIN LATERAL (
            SELECT least(
                (SELECT min(t0) FROM outcomes WHERE outcomes.ecosystem = recording.ecosystem
                    AND outcomes.instrument = recording.instrument AND state IN ('waiting', 'open')),
                (SELECT min(t0) FROM outcomes WHERE outcomes.ecosystem = recording.ecosystem
                    AND outcomes.instrument = recording.instrument AND state NOT IN ('waiting', 'open')
                    AND scored_to > recording.recorded_to AND state = 'unpriced')) AS needed_from) AS need
        WHERE due_at <= now() AND coalesce(claimed_until, '-infinity') < now()
            AND (is_pinned OR needed_from IS NOT NULL)
        ORDER BY due_at LIMIT 1 FOR UPDATE OF recording SKIP LOCKED)
    UPDATE price_recordings AS recording SET claimed_until = now() + interval '5 minutes'
    FROM due WHERE recording.id = due.id
    RETURNING recording.id, ecosystem, instrument, feed, recorded_to, failures, needed_from, now()"""

STORE = """
    INSERT INTO candles (ecosystem, instrument, seconds, feed, opened_at, open, high, low, close, volume)
    SELECT %(ecosystem)s, %(instrument)s, %(seconds)s, %(feed)s, timestamp, open, high, low, close, volume
    FROM json_to_recordset(%(candles)s::json) AS given (timestamp timestamptz, open numeric, high numeric,
        low numeric, close numeric, volume numeric)
    ON CONFLICT DO NOTHING"""


class Recording(msgspec.Struct, frozen=True):
    """One instrument whose prices this worker records now."""

    id: int
    ecosystem: str
    instrument: str
    feed: str
    recorded_to: datetime | None
    failures: int
    needed_from: datetime | None
    now: datetime

    @property
    def since(self) -> datetime:
        """From when on candles are fetched."""
        start = self.needed_from or self.now - HOURLY_REFETCH_SPAN
        start = start.replace(second=0, microsecond=0)
        if self.recorded_to is None:
            return start
        is_new_hour = self.recorded_to.replace(minute=0) != self.now.replace(
            minute=0, second=0, microsecond=0
        )
        return max(start, self.recorded_to - (HOURLY_REFETCH_SPAN if is_new_hour else REFETCH_SPAN))


class PriceRecorder(Loop):
    """Records prices from the feeds that agents use. Its methods are for one thread."""

    idle_interval_s = 1.0

    def __init__(self) -> None:
        self._feeds: dict[tuple[str, str], Feed] = {}

    def run_once(self, *, wait: bool = False) -> int:  # noqa: ARG002 - there is nothing to wait for
        """Record the prices of one instrument that are due; return 1, or 0 where none are. Raises Outage."""
        with classified():
            with connection.cursor() as cursor:
                cursor.execute(NEEDED)
                cursor.execute(CLAIM_RECORDING)
                row = cursor.fetchone()
            if row is None:
                return 0
            self._record(Recording(*row))
        return 1

    def _record(self, recording: Recording) -> None:
        row = PriceRecording.objects.filter(pk=recording.id)
        try:
            last, length, refused = self._fetch(recording)
        except FeedError as error:
            wait = min(5.0 * 2 ** min(recording.failures, 10), MAX_RETRY_S)
            if isinstance(error, FeedOutage):
                wait = max(wait, error.after or 0.0)
            row.update(
                claimed_until=None,
                failures=F("failures") + 1,
                error=str(error)[:500],
                failing_since=Coalesce("failing_since", Now()),
                due_at=Now() + timedelta(seconds=wait),
            )
            logger.warning("prices=%s/%s %s", recording.ecosystem, recording.instrument, error)
            return
        now = datetime.now(UTC)
        since_close = timedelta(seconds=now.timestamp() % min(length.total_seconds(), 3600))
        row.update(
            claimed_until=None,
            failures=0,
            failing_since=None,
            error=f"{refused} candles with impossible prices were left out" if refused else "",
            recorded_to=Greatest("recorded_to", Value(last and last + length, DateTimeField())),
            due_at=min(now - since_close + length + CLOSE_GRACE, now + timedelta(hours=1)),
        )

    def _fetch(self, recording: Recording) -> tuple[datetime | None, timedelta, int]:
        """Store the candles of a recording; return when the last opened, its length, how many are refused."""
        feed = self._feed(recording.ecosystem, recording.feed)
        name = feed_name(recording.ecosystem, recording.feed)
        for timeframe in TIMEFRAMES:
            release_connections()  # a feed may take its time
            try:
                candles = feed.candles(recording.instrument, timeframe, recording.since)
            except FeedOutage:
                raise
            except FeedError as error:
                if "timeframe" not in str(error) or timeframe == TIMEFRAMES[-1]:
                    raise
                continue
            last, length, refused = None, duration(timeframe), 0
            for chunk in _chunks(candles):
                stored = store(recording.ecosystem, recording.instrument, name, length, chunk)
                last, refused = chunk[-1].timestamp, refused + stored.refused
            return last, length, refused
        raise AssertionError("the last timeframe returns or raises")

    def _feed(self, ecosystem: str, spec: str) -> Feed:
        if (ecosystem, spec) not in self._feeds:
            try:
                self._feeds[ecosystem, spec] = open_feed(spec, ecosystem, settings.ENVIRONMENT)
            except ImportError as error:
                raise FeedError(
                    f"{error.name} is not installed here: pip install -r ecosystems/requirements-agent.txt"
                ) from error
        return self._feeds[ecosystem, spec]


class CsvRecorder(Loop):
    """Records the candles of CSV files, also those that are added later. Its methods are for one thread."""

    idle_interval_s = 30.0

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise FeedError(f"{folder} is not a folder with files such as BTC_USDT-1m.csv")

    def run_once(self, *, wait: bool = False) -> int:  # noqa: ARG002
        """Record what is not on record yet; return how many candles that was. Raises Outage."""
        count = 0
        for path in sorted(self._folder.glob("*-*.csv")):
            symbol, _, timeframe = path.stem.rpartition("-")
            try:
                for ecosystem in ECOSYSTEMS:
                    for name in {instrument(ecosystem, symbol), symbol, symbol.replace("_", "/")}:
                        if _is_wanted(ecosystem, name):
                            for chunk in _chunks(CsvFeed(path).candles(symbol, timeframe)):
                                count += store(ecosystem, name, CSV_FEED, duration(timeframe), chunk).new
            except (FeedError, ValueError) as error:
                logger.error("prices=%s %s", path.name, error)
        return count


def feed_name(ecosystem: str, spec: str) -> str:
    """Return the name of a feed as candles have it: the exchange, broker or made-up market."""
    if spec != "live":
        return spec
    environment = settings.ENVIRONMENT
    names = {
        "crypto": environment.ccxt_exchange,
        "forex": "oanda",
        "stock": f"alpaca:{environment.alpaca_data_feed}",
    }
    return names[ecosystem]


class Stored(NamedTuple):
    """How many candles were not on record yet, and how many the table does not take."""

    new: int
    refused: int


def store(ecosystem: str, name: str, feed: str, length: timedelta, candles: Sequence[Candle]) -> Stored:
    """Store the candles that are not on record yet. Raises Outage."""
    sound = [candle for candle in candles if _is_possible(candle)]
    key: dict[str, Any] = {
        "ecosystem": ecosystem,
        "instrument": name,
        "feed": feed,
        "seconds": int(length.total_seconds()),
        "candles": msgspec.json.encode(sound).decode(),
    }
    with classified(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(STORE, key)
        return Stored(cursor.rowcount, len(candles) - len(sound))


def _chunks(candles: Iterable[Candle]) -> Iterator[list[Candle]]:
    remaining = iter(candles)
    while chunk := list(islice(remaining, STORED_AT_ONCE)):
        yield chunk


def _is_possible(candle: Candle) -> bool:
    """Return whether the table takes a candle: a feed may be wrong."""
    prices = (candle.open, candle.high, candle.low, candle.close)
    if not all(number.is_finite() for number in (*prices, candle.volume)):
        return False
    if not 1 < candle.timestamp.year < MAX_YEAR or not 0 <= candle.volume < MAX_VOLUME:
        return False
    if int(candle.volume.as_tuple().exponent) < -MAX_VOLUME_DECIMALS:
        return False
    if not (MIN_PRICE <= candle.low <= min(prices) and max(prices) <= candle.high < MAX_PRICE):
        return False
    return all(10**MAX_DECIMALS % price.as_integer_ratio()[1] == 0 for price in prices)


def _is_wanted(ecosystem: str, name: str) -> bool:
    """Return whether an instrument has a call, decided or not, or is pinned."""
    place = {"ecosystem": ecosystem, "instrument": name}
    with classified():
        return (
            Outcome.objects.filter(**place).exists()
            or PriceRecording.objects.filter(**place, is_pinned=True).exists()
        )
