"""The documents: what they name exists, and their links lead somewhere."""

import os
import pkgutil
import re
from argparse import ArgumentParser, _SubParsersAction
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.urls import resolve

from config import variable_docs
from ecosystems import env
from tests.guides import blocks
from tests.servers import PROGRAMS, PROJECT

DOCS = PROJECT / "docs"
PAGES = sorted([*PROJECT.glob("*.md"), *DOCS.glob("*.md"), PROJECT / "benchmarks" / "README.md"])
FAMILIES = "CORE|DJANGO|AGG|EMAIL|STRIPE|CCXT|OANDA|ALPACA|SIGNAL_HUB|WEB|WORKER|STREAM"
VARIABLE = re.compile(rf"(?<!settings\.)\b(?:{FAMILIES})_[A-Z_]*[A-Z]\b")
FOREIGN = {"DJANGO_SUPERUSER_PASSWORD", "DJANGO_SETTINGS_MODULE", *PROGRAMS}
ROW = re.compile(r"^\| `([A-Z_]+)` \|(.*)\|$", re.MULTILINE)

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))


@pytest.fixture
def clear(monkeypatch):
    """An environment in which no variable of the hub is set."""
    for name in [name for name in os.environ if VARIABLE.match(name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SIGNAL_HUB_DOTENV", "off")
    return monkeypatch


def starting() -> set[str]:
    """The names under `Starting programs`, which other programs read."""
    section = (DOCS / "configuration.md").read_text().partition("## Starting programs")[2]
    return {name for name, _ in ROW.findall(section)}


def test_the_tables_of_variables_are_generated():
    page = (DOCS / "configuration.md").read_text()
    assert variable_docs.page(page) == page
    documented = [name for name, _ in ROW.findall(page) if name not in starting()]
    assert documented == [variable.name for variable in env.VARIABLES.values()]


def test_the_template_is_generated():
    template = (PROJECT / ".env.example").read_text()
    assert variable_docs.template() == template
    assert all(f"\n#{variable.name}=" in template for variable in env.VARIABLES.values())


@pytest.mark.parametrize("section", variable_docs.SECTIONS)
def test_a_section_without_a_table_is_noticed(section):
    page = (DOCS / "configuration.md").read_text()
    with pytest.raises(ValueError, match=f"no table under the heading '{section}'"):
        variable_docs.page(page.replace(f"## {section}\n", "## Another\n"))


@page
def test_pages_name_no_other_variables(page):
    named = {name.removesuffix("_FILE") for name in VARIABLE.findall(page.read_text())}
    known = {variable.name for variable in env.VARIABLES.values()}
    assert named - known - starting() <= FOREIGN


def test_what_starts_programs_is_read_by_them():
    texts = [PROJECT / "Makefile", PROJECT / "Procfile", PROJECT / "ecosystems/env.py"]
    texts += (PROJECT / "config/local").glob("*.py")
    known = "\n".join(path.read_text() for path in texts)
    assert {name for name in starting() if not re.search(rf"\b{name}\b", known)} == set()
    assert set(re.findall(r"\$\{([A-Z_]+):-", (PROJECT / "Procfile").read_text())) <= starting()


def test_the_template_sets_nothing_by_itself():
    lines = (PROJECT / ".env.example").read_text().splitlines()
    assert all(line.startswith("#") for line in lines if line)


def test_every_value_of_the_template_is_accepted(clear, tmp_path):
    text = re.sub(r"^#([A-Z_]+=)", r"\1", (PROJECT / ".env.example").read_text(), flags=re.MULTILINE)
    (tmp_path / "env").write_text(text)
    clear.setenv("SIGNAL_HUB_DOTENV", str(tmp_path / "env"))
    before = dict(os.environ)
    try:
        environment = env.load()
        environment.require_hub()
        assert environment.bus_backend() == ("redis", None)
        assert environment.oanda_token == "token"
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize("variable", env.VARIABLES.values(), ids=lambda variable: variable.name)
def test_every_default_and_every_example_is_valid(clear, variable):
    for text in filter(None, (variable.example, variable.default)):
        clear.setenv(variable.name, text)
        assert variable.read() is not None or text == "forever"


SUFFIXES = "py|md|toml|in|txt|yml|yaml|json|html|css|js|service"
"""Of the project's files."""
NO_PATHS = {"application/json", "application/problem+json", "hub.example.com/log", "hub.example.com/log-2"}
"""What looks like a path in backticks and is none."""
PACKAGES = ("aggregator", "commerce", "config", "ecosystems")
FOLDERS = "|".join(sorted(path.name for path in PROJECT.iterdir() if path.is_dir() and path.name[0] != "."))
CLAIMS = {
    "link": re.compile(r"\]\(([^)\s]+)\)"),
    "command": re.compile(r"manage\.py ([a-z_]+)((?: [^\n`|&;>]*)?)"),
    "target": re.compile(r"(?:`|^|=\S+ )make ([a-z]+)", re.MULTILINE),
    "address": re.compile(
        r"`(?:(?:GET|POST) )?(/(?:admin|account|api|plans|health|livez|metrics)\b[^\s`?]*)`"
    ),
    # In backticks whatever looks like a path, elsewhere what begins with a folder of the project.
    "path": re.compile(
        rf"(?:(?<=`)(?=[^`\s]+`)|(?<![\w/.`~-])(?=(?:{FOLDERS})/))"
        rf"([a-z_][\w.]*/(?:[\w./@+-]*[\w/])?|[\w@.-]+\.(?:{SUFFIXES})\b)"
    ),
    "test": re.compile(r"\b(tests/[\w/]+\.py)::(\w+)"),
    "name": re.compile(rf"`((?:{'|'.join(PACKAGES)}|settings)(?:\.\w+)+)`"),
}
"""What a page may say that can be checked, by kind; each pattern's groups are what is checked."""


def claims(kind: str) -> pytest.MarkDecorator:
    """Parametrize a test with every page that makes claims of a kind, and with these claims."""
    made = [(path, CLAIMS[kind].findall(path.read_text())) for path in PAGES]
    found = [pytest.param(path, each, id=str(path.relative_to(PROJECT))) for path, each in made if each]
    assert found, f"no page has a {kind}: its pattern is wrong"
    return pytest.mark.parametrize(("page", "found"), found)


@page
def test_every_page_has_something_to_check(page):
    text = page.read_text()
    assert any(pattern.search(text) for pattern in CLAIMS.values())


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@claims("link")
def test_links_lead_somewhere(page, found):
    for target in found:
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text()
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= set(re.findall(r"[\w-]+\.md", index))


def help_of(parser: ArgumentParser) -> str:
    """Return the help of a command and of its actions."""
    groups = [action for action in parser._actions if isinstance(action, _SubParsersAction)]
    actions = [each for group in groups for each in group.choices.values()]
    return "\n".join([parser.format_help(), *map(help_of, actions)])


@claims("command")
def test_commands_and_their_options_exist(page, found):
    apps = get_commands()
    for name, rest in found:
        assert name in apps, f"manage.py {name}"
        app = apps[name]
        command = load_command_class(app, name) if isinstance(app, str) else app
        usage = help_of(command.create_parser("manage.py", name))
        for option in re.findall(r"(?<= )--[a-z-]+", rest.partition("#")[0]):
            assert re.search(rf"{option}\b", usage), f"manage.py {name} {option}"


@claims("target")
def test_targets_of_make_exist(page, found):
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(found) <= targets


@page
def test_programs_of_celery_exist(page):
    assert set(re.findall(r"celery -A config ([a-z]+)", page.read_text())) <= {"worker", "beat"}


@claims("path")
def test_paths_exist(page, found):
    made_by_the_page = set(re.findall(r"^```\w+ file=(\S+)$", page.read_text(), re.MULTILINE))
    absent = [name for name in found if not (PROJECT / name).exists() and not (page.parent / name).exists()]
    assert set(absent) - made_by_the_page - NO_PATHS == set()


@claims("test")
def test_tests_exist(page, found):
    for path, name in found:
        assert f"def {name}(" in (PROJECT / path).read_text(), f"{path}::{name}"


@claims("name")
def test_names_of_the_code_exist(page, found):
    for dotted in found:
        assert resolves(dotted), dotted


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    if dotted.startswith("settings."):
        return hasattr(settings, dotted.partition(".")[2])
    try:
        pkgutil.resolve_name(dotted)
    except (ImportError, AttributeError):
        return False
    return True


def test_the_map_shows_every_room():
    (block,) = [block for block in blocks("architecture.md", "text") if block.heading == "The rooms"]
    shown, top = [], ""
    for line in block.text.splitlines():
        match = re.fullmatch(r"( *)(\w+)/ +\S.*", line)
        assert match, line
        top, name = (top, f"{top}/{match[2]}") if match[1] else (match[2], match[2])
        shown.append(name)
    rooms = [
        f"{name}/{path.parent.name}" for name in PACKAGES for path in PROJECT.glob(f"{name}/*/__init__.py")
    ]
    assert {*PACKAGES, *rooms} - {f"{name}/migrations" for name in PACKAGES} <= set(shown)
    assert [name for name in shown if not (PROJECT / name).is_dir()] == []


@claims("address")
def test_addresses_exist(page, found):
    for address in set(found) - {"/api/v1/"}:
        resolve(re.sub(r"<[a-z_]+>", "x", address))


def test_the_admin_needs_no_slash(client):
    assert client.get("/admin").headers["Location"] == "/admin/"
