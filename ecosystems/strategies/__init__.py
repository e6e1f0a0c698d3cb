"""Strategies turn candles into signals, one file each, and nothing else.

The same candles give the same signals with the same ids, so an agent that is restarted repeats them
harmlessly. A strategy keeps no more than its indicators need, however many candles it is given.
"""

from importlib import import_module
from typing import Any

from ecosystems.strategies.strategy import EXIT, Decision, Multiple, Parameters, Period, Strategy

__all__ = ["BUILT_IN", "EXIT", "Decision", "Multiple", "Parameters", "Period", "Strategy", "load_strategy"]

BUILT_IN = {
    "ema_crossover": "ecosystems.strategies.ema_crossover:EmaCrossover",
    "rsi_reversion": "ecosystems.strategies.rsi_reversion:RsiReversion",
    "donchian_breakout": "ecosystems.strategies.donchian_breakout:DonchianBreakout",
}


def load_strategy(name: str) -> type[Strategy[Any]]:
    """Return a built-in strategy, or the class at `package.module:Class`.

    Raises ValueError with a line for the operator.
    """
    module, colon, attribute = BUILT_IN.get(name, name).partition(":")
    if not colon:
        raise ValueError(f"unknown strategy {name!r}: one of {', '.join(BUILT_IN)}, or package.module:Class")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"strategy {name!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise ValueError(f"strategy {name!r} is not a subclass of ecosystems.strategies.Strategy")
    return found
