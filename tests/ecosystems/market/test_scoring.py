"""The rules of the track record: the worked examples, and a second implementation that agrees."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecosystems.market.candles import Candle
from ecosystems.market.scoring import (
    FEE_BPS,
    HORIZON_HOURS,
    Amendment,
    Call,
    Ending,
    ExitReason,
    Score,
    State,
)
from tests.ecosystems.market import second_scoring

T0 = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def call(side=1, kind="MARKET", claimed=100, stop=98, target=104, **fields):
    claimed, stop, target = (None if each is None else Decimal(each) for each in (claimed, stop, target))
    given = {"fee_bps": FEE_BPS["crypto"], "horizon_hours": HORIZON_HOURS["crypto"]} | fields
    return Call("crypto", side, kind, T0, claimed, stop, target, **given)


def at(minute, second=0):
    return datetime(2026, 11, 27, 12, minute, second, tzinfo=UTC)


def candles(text):
    """Return minute candles from 12:01 on, written as in the worked examples."""
    return [
        Candle(at(number), *(Decimal(price) for price in each.split("/")), Decimal(1))
        for number, each in enumerate(text.split(" · "), start=1)
    ]


def outcome(of, prices, amendments=(), ending=None, now=LATER):
    score = Score(of, amendments, ending)
    score.run(candles(prices) if prices else [], MINUTE)
    return score.outcome(now)


EXAMPLES = [
    (call(), "100.5/101/100/101 · 101/104.5/101/104", "target", "100.5", "104", "1.3182"),
    (call(), "100.5/105/97/99", "stop", "100.5", "98", "-1.0794"),
    (call(), "100.5/101/100/101 · 96/97/95/96", "stop", "100.5", "96", "-1.8786"),
    (call(), "100.5/101/100/101 · 106/107/105/106", "target", "100.5", "104", "1.3182"),
    (
        call(1, "LIMIT", 99, 97, 103),
        "100/101/99/100 · 99.5/104/98.5/103.5 · 103.2/104/103/103.5",
        "target",
        "99",
        "103",
        "1.899",
    ),
    (
        call(-1, "STOP", 99, 101, 95),
        "100/100.5/99.2/99.5 · 98/98.5/97/97.5 · 97/97.5/94/95",
        "target",
        "98",
        "95",
        "0.9357",
    ),
]


@pytest.mark.parametrize(("of", "prices", "reason", "entry", "exit_price", "r"), EXAMPLES)
def test_worked_examples(of, prices, reason, entry, exit_price, r):
    found = outcome(of, prices)
    assert (found.state, found.exit_reason) == ("closed", reason)
    assert (found.entry_price, found.exit_price) == (Decimal(entry), Decimal(exit_price))
    assert round(found.r_multiple, 4) == Decimal(r)
    assert found.ambiguous == (r == "-1.0794")


def test_worked_example_5_is_missed():
    found = outcome(call(), "97.5/99/97/98")
    assert (found.state, found.entered_at, found.r_multiple) == ("missed", None, None)


def test_worked_example_6_is_filled_by_the_second_candle():
    found = outcome(call(1, "LIMIT", 99, 97, 103), EXAMPLES[4][1])
    assert (found.entered_at, found.exited_at) == (at(2), at(3))


def test_worked_example_8_closes_before_that_candles_stop_and_target():
    prices = "100.5/101/100/101 · 101/102/100.9/101.5 · 101.5/110/90/100"
    found = outcome(call(), prices, ending=Ending(at(2, 10), "close"))
    assert (found.exit_reason, found.exit_price, found.exited_at) == ("close", Decimal("101.5"), at(3))


def test_worked_example_9_takes_the_amended_target_and_keeps_the_risk():
    prices = "100.5/103/100/101 · 101/102.5/101/102"
    found = outcome(call(), prices, [Amendment(at(1, 30), None, Decimal(102))])
    assert (found.exit_price, found.exited_at) == (102, at(2))
    assert found.r_multiple == ((Decimal("1.5") - Decimal("0.2025")) / Decimal("2.5")).quantize(
        Decimal("1e-12")
    )


@pytest.mark.parametrize(
    ("of", "prices", "ending", "now", "state"),
    [
        (call(), "", None, T0 + timedelta(hours=23), "waiting"),
        (call(), "", None, T0 + timedelta(hours=24), "unpriced"),
        (call(1, "LIMIT", 90, 80, 95), "100/101/99/100", None, LATER, "waiting"),
        (call(1, "LIMIT", 90, 80, 95), "100/101/99/100", Ending(at(1), "close"), LATER, "cancelled"),
        (call(1, "LIMIT", 90, 80, 95), "100/101/99/100", Ending(at(1, 1), "close"), LATER, "waiting"),
        (call(), "100/101/99/100", Ending(at(0, 45), "reversal"), LATER, "cancelled"),
        (call(), "100/101/99/100", Ending(at(1), "reversal"), LATER, "cancelled"),
        (call(), "100/101/99/100", Ending(at(1, 1), "reversal"), LATER, "open"),
    ],
)
def test_what_is_concluded_before_a_fill(of, prices, ending, now, state):
    assert outcome(of, prices, ending=ending, now=now).state == state


def test_an_order_is_unfilled_once_a_candle_opens_a_day_later():
    score = Score(call(1, "LIMIT", 90, 80, 95))
    (first,) = candles("100/101/99/100")
    late = Candle(T0 + timedelta(hours=24), first.open, first.high, Decimal(85), first.close, Decimal(1))
    assert score.run([first, late], MINUTE)
    assert score.outcome(LATER).state == "unfilled"


def test_a_stop_that_an_amendment_puts_beyond_the_price_exits_at_the_open():
    prices = "100.5/101/100/101 · 101/102/100.9/101.5"
    found = outcome(call(), prices, [Amendment(at(1, 30), Decimal(103), None)])
    assert (found.exit_reason, found.exit_price) == ("stop", 101)


def test_figures_are_exact_for_the_largest_and_the_smallest_prices():
    tiny, huge = Decimal("1e-40"), Decimal("9e17")
    score = Score(call(1, "MARKET", tiny, tiny / 2, None))
    score.run([Candle(at(1), tiny, huge, tiny, huge, Decimal(1))], MINUTE)
    found = score.outcome(LATER)
    assert found.gross_return == Decimal("9e57") - 1 or found.gross_return == Decimal("9e57")
    assert found.r_multiple > Decimal("1e57")


def made_up_market(source):
    """Return an ecosystem, its candles with gaps, their length and their start."""
    ecosystem = source.choice(["crypto", "crypto", "forex", "stock"])
    step = source.choice([1, 60, 60, 360, 1440]) * MINUTE
    start = datetime(2025, source.randint(1, 12), source.randint(1, 28), source.randint(0, 23), tzinfo=UTC)
    gaps, price, series = source.choice([0, 0.1, 0.5]), 24, []
    for number in range(source.randint(1, 40)):
        opening = price + source.choice([0, 0, 0, -1, 1, -6, 6])
        close = opening + source.randint(-2, 2)
        high, low = max(opening, close) + source.randint(0, 2), min(opening, close) - source.randint(0, 2)
        price = max(8, close)
        if source.random() >= gaps and low > 0:
            prices = (Decimal(each) / 2 for each in (opening, high, low, close))
            series.append(Candle(start + number * step, *prices, Decimal(1)))
    return ecosystem, series, step, start


def made_up_call(source, ecosystem, step, start):
    """Return a call with its amendments and endings, at times that often meet those of candles."""

    def moment(first, last):
        return start + source.randint(first, last) * step / 2

    def level(side):
        """A price beyond the market's on this side, mostly; now and then none, or on the wrong side."""
        if source.random() < 0.2:
            return None
        return Decimal(max(1, 24 + side * source.choice([-3, 1, 2, 3, 5, 8, 12]))) / 2

    side, t0 = source.choice([1, -1]), moment(0, 24)
    horizons = [HORIZON_HOURS[ecosystem], *map(Decimal, ("1", "3", "6.5", "24"))]
    made = Call(
        ecosystem,
        side,
        source.choice(["MARKET", "MARKET", "LIMIT", "STOP"]),
        t0,
        source.choice([None, Decimal(source.randint(18, 30)) / 2]),
        level(-side),
        level(side),
        source.choice([Decimal(0), Decimal(10), Decimal("2.5")]),
        source.choice(horizons),
    )
    later = [max(t0, moment(0, 80)) for _ in range(5)]
    amendments = [
        Amendment(each, level(-side), level(side)) for each in sorted(later[: source.randint(0, 3)])
    ]
    endings = [(each, source.choice(["close", "reversal"])) for each in later[3 : 3 + source.randint(0, 2)]]
    return made, amendments, endings


def made_up_cases(seed, count=20):
    """Yield calls with candles so close together that everything happens, and often at the same time."""
    source = random.Random(seed)
    ecosystem, series, step, start = made_up_market(source)
    for _ in range(count):
        now = source.choice([LATER, start + source.randint(0, 90) * step / 2])
        yield *made_up_call(source, ecosystem, step, start), series, step, now


def follow(made, amendments, endings, series, step, now, cuts=()):
    """Score a case, in as many parts as there are cuts."""
    first = min(endings, default=None)
    ending = first and Ending(*first)
    usable = [each for each in series if each.timestamp >= made.t0 and each.timestamp + step <= now]
    score = Score(made, amendments, ending)
    for before, after in zip((0, *cuts), (*cuts, len(usable)), strict=True):
        if score.run(usable[before:after], step):
            break
        known = score.outcome(made.t0)
        score = Score(made, amendments, ending, known=known, seen=score.seen)
    return score.outcome(now)


SEEDS = st.integers(0, 2**32)


@settings(max_examples=200)
@given(SEEDS)
def test_a_second_implementation_agrees(seed):
    for case in made_up_cases(seed):
        found, expected = follow(*case), second_scoring.score(*case)
        for name, value in vars(expected).items():
            assert getattr(found, name) == value, (name, case)


@settings(max_examples=100)
@given(SEEDS)
def test_scoring_in_parts_changes_nothing(seed):
    source = random.Random(seed)
    for case in made_up_cases(seed):
        cuts = sorted(source.choices(range(40), k=3))
        assert follow(*case, cuts=cuts) == follow(*case), case


@settings(max_examples=60)
@given(SEEDS)
def test_later_candles_change_no_decision(seed):
    for made, amendments, endings, series, step, _ in made_up_cases(seed):
        final = follow(made, amendments, endings, series, step, LATER)
        for count in range(len(series)):
            score = Score(made, amendments, Ending(*min(endings)) if endings else None)
            if score.run([each for each in series[:count] if each.timestamp >= made.t0], step):
                assert score.outcome(LATER) == final


def test_the_made_up_cases_come_to_every_end():
    ends = Counter()
    for seed in range(60):
        for case in made_up_cases(seed):
            found = follow(*case)
            ends[found.exit_reason or found.state, found.ambiguous] += 1
    names = {*get_args(State), *get_args(ExitReason)} - {"closed"}
    assert {name for name, _ in ends} == names
    assert min(ends.values()) > 5, ends
