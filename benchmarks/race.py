"""Contestants that take turns, and what is made of their figures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

ROUNDS = 5

Run = Callable[[], float]
"""One run of a contestant; gives its figure, in the race's unit."""


@dataclass(frozen=True)
class Goal:
    """`ours` divided by `peer`, or itself where there is none, must reach `must`; `aim` would be better."""

    ours: str
    peer: str | None
    must: float
    aim: float | None = None
    at_most: bool = False
    """The figure is a cost: it must stay below."""


@dataclass
class Race:
    """Runs that are comparable because they take turns."""

    title: str
    unit: str
    runs: dict[str, Run]
    goals: list[Goal] = field(default_factory=list)
    rounds: int = ROUNDS
    figures: dict[str, list[float]] = field(default_factory=dict)

    def steps(self) -> int:
        return self.rounds * len(self.runs)

    def go(self, stepped: Callable[[str], None]) -> None:
        """Run all rounds; `stepped` gets the name of each run before it starts."""
        for _ in range(self.rounds):
            for name, run in self.runs.items():
                stepped(f"{self.title}: {name}")
                self.figures.setdefault(name, []).append(run())

    def median(self, name: str) -> float:
        return median(self.figures[name])

    def result(self, goal: Goal) -> float:
        """Return the ratio of the medians, or the median itself where there is no peer."""
        ours = self.median(goal.ours)
        return ours if goal.peer is None else ours / self.median(goal.peer)

    def reached(self, goal: Goal) -> bool:
        result = self.result(goal)
        return result <= goal.must if goal.at_most else result >= goal.must
