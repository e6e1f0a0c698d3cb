"""axe-core's WCAG A and AA rules on the page as the browser shows it. Comes with its script: no download."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT

LEVELS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
OF_COLOURS = ("color-contrast", "link-in-text-block")
MIN_RULES = 5
"""If fewer rules found something to check, another page than the intended one is open."""

FINISH_ANIMATIONS = """document.getAnimations()
    .filter((each) => each.effect.getComputedTiming().endTime !== Infinity)
    .forEach((each) => each.finish())"""

# What passed is counted in the browser: transferring it takes longer than finding it.
VIOLATIONS = "axe.run(...{}).then((found) => [found.passes.length, found.violations])"

CONTRAST_THROUGH_SHADOWS = (
    """axe.configure({checks: [{id: "color-contrast", options: {ignorePseudo: true}}]})"""
)
"""Otherwise texts on a sticky bar, whose shadow is a pseudo-element, are not checked at all."""


def accessibility_violations(
    page: Any, leave_out: Sequence[str] = (), *, colours_only: bool = False
) -> list[str]:
    """Return the violations on a Playwright page, one line each: rule, element, reason.

    `colours_only` leaves out the rules that another theme cannot break. `leave_out` are CSS selectors of
    parts that this project does not make; the call says why.
    """
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(AXE_SCRIPT)
        page.evaluate(CONTRAST_THROUGH_SHADOWS)
    # Colours are checked as they are now: an element that fades in would be read half-way.
    page.evaluate(FINISH_ANIMATIONS)
    rules = {"type": "rule", "values": OF_COLOURS} if colours_only else LEVELS
    # Of the elements that pass a rule one is described, not each, which takes longer than to check them.
    options = {"runOnly": rules, "resultTypes": ["violations"]}
    given = json.dumps([{"exclude": [[each] for each in leave_out]}, options])
    passed, violations = page.evaluate(VIOLATIONS.format(given))
    assert colours_only or passed >= MIN_RULES, f"{page.url} shows almost nothing"
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {_reason(node)}"
        for rule in violations
        for node in rule["nodes"]
    ]


def _reason(node: dict[str, Any]) -> str:
    checks = [check["message"] for kind in ("any", "all", "none") for check in node[kind]]
    return "; ".join(checks)
