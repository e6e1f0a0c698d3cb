"""The readers' verifier as a module: a process for each of many inputs would take too long."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from tests.aggregator.transparency.log_files import VERIFIER


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_record", VERIFIER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_record"] = module
    spec.loader.exec_module(module)
    return module
