"""How the figures of a track record read."""

from decimal import Decimal

from django import template

from ecosystems.signal import decimal_text

register = template.Library()


@register.filter
def signed(value: Decimal | float | None) -> str:
    """Return a number of R with its sign."""
    return "—" if value is None else f"{value:+.2f}"


@register.filter
def share(value: Decimal | float | None, places: int = 1) -> str:
    """Return a share in per cent."""
    return "—" if value is None else f"{100 * value:.{places}f} %"


@register.filter
def plain(value: Decimal | None) -> str:
    """Return a price with all its digits."""
    return decimal_text(value) or "—"
