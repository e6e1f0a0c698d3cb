"""The interface of a strategy, and what all strategies share."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from ecosystems import ECOSYSTEMS
from ecosystems.market.candles import Candle, duration
from ecosystems.market.symbols import instrument
from ecosystems.signal import MAX_DECIMALS, MAX_PRICE, RULES, Signal, is_symbol

Period = Annotated[int, msgspec.Meta(ge=2, le=1000)]
"""Candles that an indicator looks back. The bound keeps the warm-up within what exchanges offer."""
Multiple = Annotated[float, msgspec.Meta(gt=0, le=100)]

EXACT = Context(prec=60)
"""A context of its own: the process's `decimal.getcontext()` must not change a strategy's prices."""

SIGNIFICANT = {"crypto": 8, "forex": 6}
CENT, HUNDREDTH_OF_A_CENT = Decimal("0.01"), Decimal("0.0001")


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of every strategy: the stop and the target, in average true ranges from the entry."""

    atr_period: Period = 14
    stop_atr: Multiple = 2.0
    target_atr: Multiple = 3.0


class Decision(msgspec.Struct, frozen=True):
    """A strategy's decision to trade.

    BUY and SELL open a call, with a stop and a target; with `refers_to`, the `signal_id` of an earlier one,
    they move the stop and the target of that call instead. CLOSE is an exit: of the call that `refers_to`
    names, else of all open calls on this market.
    """

    action: Literal["BUY", "SELL", "CLOSE"]
    confidence: float | None = None
    risk: float = 0.0
    """The distance of the stop from the candle's close. Unused by a CLOSE, as the target's."""
    reward: float = 0.0
    refers_to: str | None = None


EXIT = Decision(action="CLOSE")


P = TypeVar("P", bound=Parameters)


class Strategy(ABC, Generic[P]):
    """One strategy on one market. A subclass defines `name`, `schema`, `prepare`, `history` and `decide`."""

    name: str
    schema: type[P]

    def __init__(
        self,
        ecosystem: str,
        symbol: str,
        timeframe: str,
        agent: str,
        *,
        tags: Sequence[str] = (),
        **parameters: object,
    ) -> None:
        """Set the strategy up; `tags` go on every signal. Raises ValueError with a line for the operator."""
        if ecosystem not in ECOSYSTEMS:
            raise ValueError(f"unknown ecosystem {ecosystem!r}: one of {', '.join(ECOSYSTEMS)}")
        if not is_symbol(symbol):
            raise ValueError(f"a symbol is {RULES['symbol']}")
        self.ecosystem = ecosystem
        self.symbol = symbol
        self.timeframe = timeframe
        self.agent = agent
        self.tags = tuple(tags)
        try:
            # Not strict, because numbers from a command line are text.
            self.parameters = msgspec.convert(parameters, self.schema, strict=False)
        except msgspec.ValidationError as error:
            text = re.sub(r" - at `\$\.?(\w*)`", r" for \1", str(error))
            known = ", ".join(self.schema.__struct_fields__)
            raise ValueError(f"{self.name}: {text}; it takes {known}") from error
        self._length = duration(timeframe)
        self._instrument = instrument(ecosystem, symbol)
        self._settings = msgspec.to_builtins(self.parameters)
        self._last: datetime | None = None
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Create the indicators; `self.parameters` is set and validated."""

    @property
    @abstractmethod
    def history(self) -> int:
        """The length of the warm-up in candles, after which the start no longer matters."""

    @abstractmethod
    def decide(self, candle: Candle) -> Decision | None:
        """Add the next candle; return a decision to trade, or None."""

    def on_candle(self, candle: Candle) -> Signal | None:
        """Add the next closed candle; return its signal, with the time of the candle's close, or None.

        A candle that is not newer than the last one is skipped: refetched gaps and restarts overlap.
        """
        if self._last is not None and candle.timestamp <= self._last:
            return None
        self._last = candle.timestamp
        decision = self.decide(candle)
        return None if decision is None else self._signal(candle, decision)

    def warm_up(self, candles: Iterable[Candle]) -> None:
        """Add past candles without giving signals."""
        for candle in candles:
            self.on_candle(candle)

    def _signal(self, candle: Candle, decision: Decision) -> Signal | None:
        entry, stop, target = None, None, None
        if decision.action != "CLOSE":
            prices = brackets(self.ecosystem, candle.close, decision.action, decision.risk, decision.reward)
            if prices is None:
                return None
            entry, stop, target = prices
        return Signal(
            signal_id=self.signal_id(candle),
            ecosystem=self.ecosystem,
            timestamp=candle.timestamp + self._length,
            symbol=self.symbol,
            action=decision.action,
            refers_to=decision.refers_to,
            entry_price=entry,
            stop_loss=stop,
            take_profit=target,
            # Rounded, so that the last bits of an average's start cannot change a repeated signal.
            confidence=None if decision.confidence is None else round(decision.confidence, 4),
            agent_source=self.agent,
            tags=self.tags,
            raw_payload={
                "strategy": self.name,
                "timeframe": self.timeframe,
                "candle": candle.timestamp.isoformat(),
                "parameters": self._settings,
            },
        )

    def entry(self, side: int, strength: float, atr: float) -> Decision:
        """Return a BUY (`side` above 0) or a SELL with the stop and the target of the parameters.

        `strength` is a ratio of 0 or more; its confidence rises from 0.5 to 1 at a strength of 1.
        """
        return Decision(
            action="BUY" if side > 0 else "SELL",
            confidence=0.5 + 0.5 * min(strength, 1),
            risk=self.parameters.stop_atr * atr,
            reward=self.parameters.target_atr * atr,
        )

    def signal_id(self, candle: Candle) -> str:
        """Return the id of the candle's signal: readable ASCII, and at most 124 characters.

        The digest is of what distinguishes signals: agent, market, timeframe, parameters and time.
        """
        opened = candle.timestamp.astimezone(UTC)
        facts = (
            self.agent,
            self.ecosystem,
            self._instrument,
            self.timeframe,
            self.name,
            self._settings,
            opened.isoformat(),
        )
        digest = hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:16]
        name, market = (re.sub(r"[^!-~]", "_", text) for text in (self.name[:24], self._instrument))
        return f"{name}:{market}:{opened:%Y%m%dT%H%M%SZ}:{digest}"


def tick(ecosystem: str, price: Decimal) -> Decimal:
    """Return the step to which prices near `price` (above 0) are rounded.

    Stocks: a cent, a hundredth of one below a dollar (Rule 612 of the SEC's Regulation NMS). Forex: six
    digits, which is the brokers' tenth of a pip (1.07219, 110.123). Crypto: eight digits, as venues differ.
    """
    if ecosystem == "stock":
        return CENT if price >= 1 else HUNDREDTH_OF_A_CENT
    exponent = price.adjusted() + 1 - SIGNIFICANT[ecosystem]
    return Decimal(1).scaleb(max(exponent, -MAX_DECIMALS))


def brackets(
    ecosystem: str, close: Decimal, action: str, risk: float, reward: float
) -> tuple[Decimal, Decimal, Decimal] | None:
    """Return entry, stop and target around `close`; `risk` and `reward` are distances of price.

    None where they are no valid order: a distance that rounds to zero, or a price that is not above zero.
    """
    most = float(MAX_PRICE)
    # A NaN is in no range, and what is beyond has more digits than the context.
    if not (close < MAX_PRICE and -most < risk < most and -most < reward < most):
        return None
    step = tick(ecosystem, close)
    sign = 1 if action == "BUY" else -1
    entry, stop, target = (
        EXACT.quantize(EXACT.add(close, Decimal(distance)), step)
        for distance in (0.0, -sign * risk, sign * reward)
    )
    lowest, highest = min(stop, target), max(stop, target)
    return (entry, stop, target) if 0 < lowest < entry < highest < MAX_PRICE else None
