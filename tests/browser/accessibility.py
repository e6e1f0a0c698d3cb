"""axe-core's WCAG A and AA rules on the page as the browser shows it. Comes with its script: no download."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT

LEVELS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
FEWEST_RULES = 5
"""A page on which fewer rules found something to look at is not the page that was meant."""

SETTLED = """document.getAnimations()
    .filter((each) => each.effect.getComputedTiming().endTime !== Infinity)
    .forEach((each) => each.finish())"""

# What passed is counted in the browser: to hand it over takes longer than to find it.
JUDGED = "axe.run(...{}).then((told) => [told.passes.length, told.violations])"

THROUGH_SHADES = """axe.configure({checks: [{id: "color-contrast", options: {ignorePseudo: true}}]})"""
"""Else texts on a bar that stays in view, with its shade in a pseudo-element, are not judged at all."""


def faults(page: Any, leave_out: Sequence[str] = ()) -> list[str]:
    """Return what breaks a rule on a Playwright page, one line each: rule, element, what is wrong.

    `leave_out` are CSS selectors of parts that are not ours to mend; say at the call why.
    """
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(AXE_SCRIPT)
        page.evaluate(THROUGH_SHADES)
    # Colours are judged as they are now: an element that fades in would be read half way.
    page.evaluate(SETTLED)
    given = json.dumps([{"exclude": [[each] for each in leave_out]}, {"runOnly": list(LEVELS)}])
    passed, violations = page.evaluate(JUDGED.format(given))
    assert passed >= FEWEST_RULES, f"{page.url} shows next to nothing"
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {_reason(node)}"
        for rule in violations
        for node in rule["nodes"]
    ]


def _reason(node: dict[str, Any]) -> str:
    checks = [check["message"] for kind in ("any", "all", "none") for check in node[kind]]
    return "; ".join(checks)
