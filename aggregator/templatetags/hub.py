"""How figures and times read on the operator's pages."""

from datetime import datetime, timedelta
from functools import cache

from django import template
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

LABELS = {
    "live": ("success", "sensors"),
    "late": ("warning", "hourglass_top"),
    "silent": ("danger", "sensors_off"),
    "closed market": ("info", "bedtime"),
    "no signals yet": ("default", "pending"),
    "ok": ("success", "check_circle"),
    "degraded": ("warning", "warning"),
    "failed": ("danger", "error"),
    "not configured": ("default", "remove"),
    "not checked": ("default", "remove"),
    "read": ("success", "check_circle"),
    "behind": ("warning", "warning"),
    "no consumers": ("warning", "warning"),
    "lost entries": ("danger", "error"),
    "not readable": ("danger", "error"),
    "received": ("success", "check_circle"),
    "waiting": ("default", "pending"),
}
"""Words with a label's colour and icon: colour is never the only sign."""
UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """Return how long ago `moment` was, as an element that a script keeps counting."""
    if moment is None:
        return "never"
    seconds = (timezone.now() - moment).total_seconds()
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{} ago</time>',
        moment.isoformat(),
        moment.strftime("%Y-%m-%d %H:%M:%S UTC"),
        span(seconds),
    )


@register.filter
def span(seconds: float | timedelta | None) -> str:
    """Return a length of time in one unit: 250 ms, 4.2 s, 12 min, 3 h, 2 d."""
    if seconds is None:
        return "—"
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if seconds < 0.9995:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0", "")
    size, unit = next((size, unit) for size, unit in UNITS if seconds >= size)
    return f"{seconds / size:.0f} {unit}"


@register.filter
def lag(seconds: float | None) -> str:
    """Return a lag read from a histogram, whose last bucket has no end."""
    return "over a day" if seconds == float("inf") else span(seconds)


@register.filter
def per_hour(rate: float | None) -> str:
    """Return a rate with as many digits as it bears."""
    if rate is None:
        return "—"
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


@register.simple_tag
@cache
def label(word: str, size: str = "md") -> SafeString:
    """Return the admin's label of one of LABELS: rendered once, for a page has a hundred of few kinds."""
    variant, icon = LABELS[word]
    context = {"text": word, "variant": variant, "icon": icon, "size": size}
    return render_to_string("unfold/helpers/label.html", context)
