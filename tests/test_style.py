"""How the code is named and cut: what `ruff` and `mypy` do not look at."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.servers import PROJECT

PACKAGES = ("aggregator", "commerce", "config", "ecosystems")
BY_CONVENTION = {"Command", "application", "app_name", "logger", "register", "urlpatterns"}
"""Names that Django, Celery, ASGI or WSGI look for in several modules."""
SIBLINGS = re.compile(r"ecosystems/(crypto|forex|stock)/|config/(settings|agent_settings)\.py")
"""The same part of sibling integrations goes by the same names."""
MAX_FILE_LINES, MAX_FUNCTION_LINES = 600, 80
# Written in parts, so that this file does not hold them.
PRIVATE_WORDS = re.compile(
    r"\b(to"
    r"ld|men"
    r"d(s|ed|ing)?|bu"
    r"r(y|ies|ied)|who"
    r"ever|do"
    r"or"
    r"step|patien"
    r"ce|housekeep"
    r"ing)\b|\bdo"
    r"ors?\b",
    re.IGNORECASE,
)


def tracked(*patterns: str) -> list[str]:
    """Return the repository's files of these patterns, also new ones; what git ignores is left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("this is no git checkout")
    return [name for name in found.stdout.splitlines() if (PROJECT / name).is_file()]


def product() -> list[str]:
    return [name for name in tracked("*.py") if name.startswith(PACKAGES) and "/migrations/" not in name]


def public_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_stands_twice_in_a_package(package):
    homes = defaultdict(list)
    for name in product():
        if name.startswith(f"{package}/"):
            for public in public_names(ast.parse((PROJECT / name).read_text())):
                if not public.startswith("_") and public not in BY_CONVENTION:
                    homes[public].append(name)
    assert homes
    assert {
        public: names
        for public, names in homes.items()
        if len([name for name in names if not SIBLINGS.match(name)]) + any(map(SIBLINGS.match, names)) > 1
    } == {}


def test_files_and_functions_are_short():
    found = {}
    for name in product():
        text = (PROJECT / name).read_text()
        if (lines := text.count("\n")) > MAX_FILE_LINES:
            found[name] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    found[f"{name}:{node.name}"] = length
    assert found == {}


def test_no_word_of_a_private_register_is_left():
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in tracked("*.py", "*.html", "*.md")
        for number, line in enumerate((PROJECT / name).read_text().splitlines(), start=1)
        if PRIVATE_WORDS.search(line)
    ]
    assert found == []
