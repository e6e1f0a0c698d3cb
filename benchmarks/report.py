"""The table, for people and as JSON."""

import json
import platform
import subprocess
from importlib.metadata import version
from typing import Any

import psutil

from benchmarks.race import Goal, Race
from benchmarks.stage import Stage

PACKAGES = ("django", "psycopg", "msgspec", "granian", "faststream", "asyncpg", "fastapi", "uvicorn")


def machine(stage: Stage) -> dict[str, Any]:
    """Return what the figures were measured on."""
    [(postgres,)] = stage.sql("SHOW server_version")
    return {
        "cpu": _cpu(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgres": str(postgres).split()[0],
        "redis": stage.redis().info("server")["redis_version"],
        **{name: version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    try:
        listed = subprocess.run(["lscpu", "-J"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return platform.processor() or "unknown"
    fields = {item["field"]: item["data"] for item in json.loads(listed)["lscpu"]}
    return str(fields.get("Model name:", "unknown"))


def table(races: list[Race]) -> str:
    """Return a Markdown table: every contestant's median, and what it must reach."""
    lines = ["| Work | Contestant | Median | Ratio | Must | Aim | |", "|---|---|--:|--:|--:|--:|---|"]
    for race in races:
        for name in race.runs:
            goals = [goal for goal in race.goals if goal.ours == name]
            figure = f"{race.median(name):,.{_decimals(race.median(name))}f} {race.unit}"
            if not goals:
                lines.append(f"| {race.title} | {name} | {figure} | | | | |")
            for goal in goals:
                lines.append(f"| {race.title} | {name} | {figure} | {_goal(race, goal)} |")
    return "\n".join(lines)


def _goal(race: Race, goal: Goal) -> str:
    sign = "≤" if goal.at_most else "≥"
    ratio = "" if goal.peer is None else f"{race.result(goal):.2f} x {goal.peer}"
    aim = "" if goal.aim is None else f"{sign} {goal.aim:g}"
    return f"{ratio} | {sign} {goal.must:g} | {aim} | {'reached' if race.reached(goal) else '**missed**'}"


def _decimals(figure: float) -> int:
    return 0 if figure >= 100 else 2


def as_json(races: list[Race], where: dict[str, Any]) -> str:
    rows = [
        {
            "title": race.title,
            "unit": race.unit,
            "figures": race.figures,
            "goals": [
                {
                    "ours": goal.ours,
                    "peer": goal.peer,
                    "result": race.result(goal),
                    "must": goal.must,
                    "aim": goal.aim,
                    "reached": race.reached(goal),
                }
                for goal in race.goals
            ],
        }
        for race in races
    ]
    return json.dumps({"machine": where, "races": rows}, indent=2)
