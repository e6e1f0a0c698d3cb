#!/usr/bin/env python
"""Django's command line.

The commands of an agent (those of the `ecosystems` app) run on servers that know neither the hub's database
nor its secrets, so they get settings of their own.
"""

import os
import sys
from pathlib import Path

AGENT_COMMANDS = Path(__file__).resolve().parent / "ecosystems" / "management" / "commands"


def main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    of_agent = command.isidentifier() and (AGENT_COMMANDS / f"{command}.py").is_file()
    settings = "config.agent_settings" if of_agent else "config.settings"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings)
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except Exception as error:
        if of_agent or "--traceback" in sys.argv or not (reason := outage(error)):
            raise
        sys.exit(f"signal-hub: {command}: the database is not available: {reason}")


def outage(error: Exception) -> str:
    """Return in one line why the database cannot be used; "" for any other error."""
    from aggregator.ledger.errors import Outage, is_outage

    return " ".join(str(error).split()) if isinstance(error, Outage) or is_outage(error) else ""


if __name__ == "__main__":
    main()
