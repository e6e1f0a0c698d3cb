"""What became of a call, on its signal's page in the admin: in words, in figures, drawn, and by events."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from aggregator.models import Agent, Outcome, OutcomeEvent, TradingSignal
from aggregator.templatetags.hub import span
from aggregator.templatetags.record import plain, share, signed
from aggregator.track_record.call_chart import Level, call_chart, claimed_as, stops_and_targets
from ecosystems.market.scoring import FILL_HOURS

MAX_EVENTS_SHOWN = 50

WORDS = {
    "waiting": "Waiting for its fill.",
    "open": "Open since {entered}, entered at {entry}.",
    "closed": "Closed by {reason}: entered at {entry} on {entered}, left at {exit} on {exited}.",
    "unfilled": f"Unfilled: no price filled it within {FILL_HOURS} hours of open market.",
    "missed": "Missed: the price was already at or beyond stop or target.",
    "cancelled": "Cancelled: it was closed or reversed before its fill.",
    "unpriced": f"Unpriced: no candle is on record within {FILL_HOURS} hours of open market.",
}
REASONS = {
    "stop": "its stop",
    "target": "its target",
    "close": "a CLOSE",
    "reversal": "a call of the other side",
    "expired": "the time stop",
}


def call_context(signal: TradingSignal) -> dict[str, Any]:
    """Return what a signal's page shows of its outcome; nothing for a signal that is no call."""
    if signal.action not in {"BUY", "SELL"} or signal.refers_to is not None:
        return {}
    if signal.signal_type not in {"MARKET", "LIMIT", "STOP"}:
        return {}
    agent = Agent.objects.filter(ecosystem=signal.ecosystem, agent_source=signal.agent_source).first()
    call = Outcome.objects.select_related("series").filter(position=signal.position or 0).first()
    if call is None:
        return {"is_call": True, "call_agent": agent}
    chart = call_chart(call, signal)
    return {
        "is_call": True,
        "call": call,
        "call_agent": agent,
        "call_words": _words(call),
        "call_facts": list(_facts(call, signal)),
        "call_chart": chart,
        "call_drawing": chart and chart.drawing,
        "call_events": OutcomeEvent.objects.filter(position=call.position).order_by("-id")[:MAX_EVENTS_SHOWN],
    }


def _words(call: Outcome) -> str:
    """Return one sentence that says what became of a call."""
    return WORDS[call.state].format(
        reason=REASONS.get(call.exit_reason or ""),
        entry=plain(call.entry_price),
        entered=_time(call.entered_at),
        exit=plain(call.exit_price),
        exited=_time(call.exited_at),
    )


def _facts(call: Outcome, signal: TradingSignal) -> Iterator[tuple[str, str]]:
    """Yield the figures of a call by their names, with all that its chart shows."""
    stops, targets = stops_and_targets(call, signal)
    yield "t0", _time(call.t0)
    yield claimed_as(signal).capitalize(), plain(signal.entry_price)
    yield "Entry", _price(call.entry_price, call.entered_at)
    yield "Stop", _levels(stops)
    yield "Target", _levels(targets)
    yield "Exit", _price(call.exit_price, call.exited_at)
    yield "R", signed(call.r_multiple)
    yield "Return after fees", share(call.net_return, 2)
    yield "Best", _in_r(call.mfe_r)
    yield "Worst", _in_r(None if call.mae_r is None else -call.mae_r)
    yield "Slippage", share(call.slippage, 3)
    yield "Fees a side", f"{plain(call.fee_bps)} bps"
    yield "Time stop", f"{plain(call.horizon_hours)} open hours"
    priced = f"{call.series.feed}, candles of {span(call.series.seconds)}" if call.series else "—"
    yield "Prices", f"{priced}{f', chosen by {call.chosen_by}' if call.chosen_by else ''}"
    yield "Scored to", _time(call.scored_to)
    yield "Rules", f"version {call.rule_version}"


def _levels(levels: list[Level]) -> str:
    if not levels:
        return "—"
    first, *amended = levels
    return ", ".join(
        [plain(first.price), *(f"{plain(each.price)} from {_time(each.since)}" for each in amended)]
    )


def _in_r(excursion: Decimal | None) -> str:
    return "—" if excursion is None else f"{excursion + 0:+.2f} R"


def _price(price: Decimal | None, at: datetime | None) -> str:
    return "—" if price is None else f"{plain(price)} at {_time(at)}"


def _time(moment: datetime | None) -> str:
    return "—" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
