"""The equity of a backtest as a picture."""

from pathlib import Path

from ecosystems.agent.backtest import Backtest


class PlotError(Exception):
    """The picture cannot be made; the text is one line that says what to correct."""


def check(path: Path) -> None:
    """Raise PlotError unless `write` can make a PNG at `path`: before a long run rather than after it."""
    try:
        import matplotlib  # noqa: F401 - only a backtest with a picture needs it
    except ImportError as error:
        raise PlotError("a plot needs matplotlib: pip install matplotlib") from error
    if path.suffix.lower() != ".png":
        raise PlotError(f"{path} is not a PNG: choose a name that ends in .png")
    if not path.parent.is_dir():
        raise PlotError(f"{path.parent} is not a directory: create it first")


def write(backtest: Backtest, title: str, path: Path) -> None:
    """Draw equity (1 at the start) and the fall from its peak over time as a PNG. Raises PlotError."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure and may need a display

    times = [at for at, _ in backtest.curve.points]
    equity = [float(value) for _, value in backtest.curve.points]
    figure = Figure(figsize=(10, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot(times, equity, linewidth=1.2)
    upper.axhline(1, color="grey", linewidth=0.6)
    upper.set_title(title)
    upper.set_ylabel("equity (start = 1)")
    lower.fill_between(times, drawdowns(equity), 0, alpha=0.5, color="firebrick", linewidth=0)
    lower.set_ylabel("drawdown (%)")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.autofmt_xdate()
    try:
        figure.savefig(path, dpi=100, format="png")
    except OSError as error:
        raise PlotError(f"{path} cannot be written: {error.strerror}") from error


def drawdowns(equity: list[float]) -> list[float]:
    """Return how far below its peak so far each value is, in per cent, as numbers of 0 and less."""
    peak, result = 0.0, []
    for value in equity:
        peak = max(peak, value)
        result.append(100 * (value / peak - 1))
    return result
