"""The `.env` file that `make run` keeps: the user's lines stay as they are."""

import pytest
from dotenv import dotenv_values

from config.local.env_file import DotEnv


def written(path, *, block=None, **added):
    dotenv = DotEnv(path)
    dotenv.add(added)
    dotenv.save(block or {})
    return dotenv_values(path)


def test_a_new_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / ".env"
    assert written(path, block={"B": "2"}, A="1") == {"A": "1", "B": "2"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_values_that_are_there_are_never_overwritten(tmp_path):
    path = tmp_path / ".env"
    path.write_text("# mine\nA='one two' # why\n\nexport B=\"x#y\"\n")
    assert written(path, A="new", B="new", C="3") == {"A": "one two", "B": "x#y", "C": "3"}
    assert path.read_text().startswith("# mine\nA='one two' # why\n\nexport B=\"x#y\"\n")


def test_an_empty_value_counts_as_not_set(tmp_path):
    path = tmp_path / ".env"
    path.write_text("A=\n")
    assert written(path, A="1")["A"] == "1"


def test_a_byte_order_mark_belongs_to_no_name(tmp_path):
    """Editors of Windows write one, and the hub's programs read such a file."""
    path = tmp_path / ".env"
    path.write_bytes(b"\xef\xbb\xbfA=mine\n")
    assert written(path, A="new", B="2") == {"A": "mine", "B": "2"}


def test_a_file_that_is_not_utf_8_is_left_alone(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes(b"A=\xe9\n")
    with pytest.raises(OSError, match="cannot be read: it may hold lines of NAME=value in UTF-8"):
        DotEnv(path)
    assert path.read_bytes() == b"A=\xe9\n"


def test_a_secret_in_a_file_counts_as_set(tmp_path):
    path = tmp_path / ".env"
    path.write_text("A_FILE=/run/secrets/a\n")
    assert "A" not in written(path, A="1")


def test_the_block_is_replaced_and_what_stands_around_it_stays(tmp_path):
    path = tmp_path / ".env"
    written(path, block={"URL": "old", "GONE": "x"}, A="1")
    path.write_text(path.read_text() + "B=2\n")

    assert written(path, block={"URL": "new"}) == {"A": "1", "B": "2", "URL": "new"}
    assert DotEnv(path).own == {"A": "1", "B": "2"}
    assert not DotEnv(path).has("URL")


def test_a_value_of_any_characters_is_read_as_it_was_written(tmp_path):
    value = tmp_path / "My #1 'hub' \\n"
    assert written(tmp_path / ".env", block={"A": str(value)}) == {"A": str(value)}


def test_writing_again_changes_nothing(tmp_path):
    path = tmp_path / ".env"
    written(path, block={"URL": "u"}, A="1")
    before = path.read_text()
    written(path, block={"URL": "u"}, A="2")
    assert path.read_text() == before


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / ".env"
    target.write_text("A=1\n")
    link.symlink_to(target)
    written(link, B="2")
    assert link.is_symlink()
    assert dotenv_values(target) == {"A": "1", "B": "2"}
