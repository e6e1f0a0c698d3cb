"""`make bench`: run all races and print one table. `python -m benchmarks drain web` runs the named ones."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from benchmarks import drain, hooks, latency, log, pages, publish, record, report, web
from benchmarks.race import Race
from benchmarks.stage import Stage, stage
from config.local import ServerError

# The latency first: what the others leave the disk to write would be waited for.
RACES: dict[str, Callable[[Stage], Race]] = {
    "latency": latency.race,
    "drain": drain.race,
    "web": web.race,
    "lone": web.lone,
    "hooks": hooks.race,
    "publish": publish.race,
    "pages": pages.race,
    "log": log.race,
    "record": record.race,
    "memory": drain.memory,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("races", nargs="*", help=f"of {', '.join(RACES)}; all by default")
    parser.add_argument("--json", type=Path, default=Path(".data/benchmarks.json"), help="where to write it")
    parser.add_argument("--rounds", type=int, help="rounds of each race (default 5)")
    options = parser.parse_args()
    if unknown := set(options.races) - set(RACES):
        parser.error(f"no such race: {', '.join(sorted(unknown))}")
    try:
        with stage() as ready:
            races = [RACES[name](ready) for name in options.races or RACES]
            run(races, options.rounds)
            where = report.machine(ready)
    except ServerError as error:
        sys.stderr.write(f"signal-hub: {error}\n")
        return 1
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(report.as_json(races, where))
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in where.items()) + "\n\n")
    sys.stdout.write(report.table(races) + f"\n\nAlso in {options.json}\n")
    return 0


def run(races: list[Race], rounds: int | None) -> None:
    """Run the races one after another, under one progress bar."""
    for race in races:
        race.rounds = min(rounds or race.rounds, race.rounds)
    with tqdm(total=sum(race.steps() for race in races), unit="run", file=sys.stderr) as bar:

        def stepped(name: str) -> None:
            bar.set_description(name[:70])
            bar.update(1)

        for race in races:
            race.go(stepped)


if __name__ == "__main__":
    sys.exit(main())
