"""Django settings of an agent's server: what the commands of the `ecosystems` app need.

An agent knows neither the hub's database nor its secrets, so nothing here reads or needs them.
"""

from ecosystems import ROOT

BASE_DIR = ROOT
INSTALLED_APPS = ["ecosystems"]
DATABASES: dict[str, dict[str, str]] = {}
TIME_ZONE = "UTC"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s", "datefmt": "%Y-%m-%dT%H:%M:%S%z"}
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
