"""Build the wheel `signal-agent`: `python clients/python/build_wheel.py FOLDER`.

The package in it, `signal_agent`, is `ecosystems` under a name that is this project's own wherever it is
installed, without what needs Django. The same commit gives the same bytes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
OLD, NEW = "ecosystems", "signal_agent"
_MODULE = re.compile(rf"(?<![.\w]){OLD}(?=\.[a-z]| import )")
_PROGRAM = f"python -m {OLD}.agent"
_BACKEND = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
MADE_AT = "315532800"
"""1980-01-01, the earliest time that a ZIP file can hold: files in the wheel have it instead of today's."""


def renamed(code: str) -> str:
    """Return a module's code with the package's new name in imports, texts and names of modules."""
    return _MODULE.sub(NEW, code.replace(_PROGRAM, "signal-agent"))


def stage(folder: Path) -> None:
    """Lay out in an empty folder what setuptools builds the wheel from."""
    package = folder / NEW
    ignored = shutil.ignore_patterns("management", "requirements-agent.*", "__pycache__")
    shutil.copytree(PROJECT / OLD, package, ignore=ignored)
    for module in package.rglob("*.py"):
        module.write_text(renamed(module.read_text()))
    top = package / "__init__.py"
    top.write_text(top.read_text() + "\n" + renamed((HERE / "exports.py").read_text()).partition('"""\n')[2])
    (package / "py.typed").touch()
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    (folder / "VERSION").write_text(version)
    for name in ("pyproject.toml", "README.md"):
        shutil.copyfile(HERE / name, folder / name)


def build(into: Path) -> Path:
    """Build the wheel with the setuptools that is installed here; return where it is."""
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder))
        command = [sys.executable, "-c", _BACKEND, str(into.absolute())]
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"SOURCE_DATE_EPOCH": MADE_AT},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return into / done.stdout.splitlines()[-1]


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))  # noqa: T201
