"""`python -m ecosystems.agent`: an agent without Django."""

import sys

from ecosystems.agent.command_line import main

sys.exit(main())
