import hashlib
import subprocess
import sys
import time
from multiprocessing import get_context

import pytest

from invariances.utils import download as downloads
from invariances.utils.download import DownloadError, download, pinned
from tests.file_server import PAGE, serving

GOOD = bytes(range(256)) * 400
MD5 = "md5:" + hashlib.md5(GOOD).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(GOOD).hexdigest()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0))


@pytest.fixture
def server():
    with serving(GOOD) as server:
        yield server


FAULTS = ["changed", "page", "empty", "half", "forbidden", "busy", "nothing"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_leaves_nothing_and_a_second_attempt_works(server, tmp_path, fault):
    path = tmp_path / "deep" / "file.gz"
    with pytest.raises(DownloadError) as error:
        download(path, [f"{server.url}/{fault}"], MD5)
    message = str(error.value)
    assert f"{server.url}/{fault}" in message and MD5 in message and str(path) in message
    assert "\n" not in message
    assert [p.name for p in path.parent.iterdir()] in ([], [".file.gz.lock"])
    assert download(path, [f"{server.url}/good"], MD5).read_bytes() == GOOD


@pytest.mark.parametrize("fault", ["changed", "page", "empty"])
def test_a_wrong_file_is_told_with_its_checksum(server, tmp_path, fault):
    found = {"changed": GOOD[:-1] + b"x", "page": PAGE, "empty": b""}[fault]
    with pytest.raises(DownloadError, match=hashlib.md5(found).hexdigest()):
        download(tmp_path / "file", [f"{server.url}/{fault}"], MD5)


def test_the_second_mirror_is_tried(server, tmp_path):
    download(tmp_path / "file", [f"{server.url}/busy", f"{server.url}/good"], MD5)
    assert server.requests == ["/busy", "/good"] and (tmp_path / "file").read_bytes() == GOOD


def test_every_mirror_is_named_in_the_error(server, tmp_path):
    with pytest.raises(DownloadError) as error:
        download(tmp_path / "file", [f"{server.url}/busy", f"{server.url}/page"], MD5)
    assert f"{server.url}/busy: 503" in str(error.value) and f"{server.url}/page" in str(error.value)


def test_no_network(tmp_path):
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/file: "):
        download(tmp_path / "file", ["http://127.0.0.1:9/file"], MD5)


def test_a_good_file_costs_no_request(server, tmp_path):
    (tmp_path / "file").write_bytes(GOOD)
    download(tmp_path / "file", [f"{server.url}/good"], MD5)
    assert server.requests == []


def test_a_wrong_file_stays_until_the_right_one_has_come(server, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(PAGE)
    with pytest.raises(DownloadError):
        download(path, [f"{server.url}/half"], MD5)
    assert path.read_bytes() == PAGE
    download(path, [f"{server.url}/good"], MD5)
    assert path.read_bytes() == GOOD


def test_everyone_may_read_the_file(server, tmp_path):
    assert download(tmp_path / "file", [f"{server.url}/good"], MD5).stat().st_mode & 0o444 == 0o444


def test_two_processes_at_once_end_with_one_good_copy(server, tmp_path):
    arguments = (tmp_path / "file", [f"{server.url}/slow"], MD5)
    processes = [get_context("fork").Process(target=download, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "file").read_bytes() == GOOD and server.requests == ["/slow"]
    assert {p.name for p in tmp_path.iterdir()} <= {"file", ".file.lock"}


def test_a_download_that_is_killed_leaves_no_file(server, tmp_path):
    path = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", DOWNLOAD, path, f"{server.url}/stuck", MD5]) as process:
        while not any(part.stat().st_size for part in tmp_path.glob(".file.*/file")):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert not path.exists()
    assert download(path, [f"{server.url}/good"], MD5).read_bytes() == GOOD


DOWNLOAD = """
import sys
from pathlib import Path
from invariances.utils.download import download
path, url, checksum = sys.argv[1:]
download(Path(path), [url], checksum)
"""


@pytest.mark.parametrize("checksum", [SHA256, SHA256[:15]])
def test_a_sha256_or_its_first_digits_verify_too(server, tmp_path, checksum):
    with pytest.raises(DownloadError, match=f"in place of SHA-256 {checksum[7:]}"):
        download(tmp_path / "file", [f"{server.url}/page"], checksum)
    for _ in range(2):
        assert download(tmp_path / "file", [f"{server.url}/good"], checksum).read_bytes() == GOOD
    assert server.requests == ["/page", "/good"]


def test_a_mirror_may_be_a_folder(tmp_path):
    (tmp_path / "a mirror").write_bytes(GOOD)
    urls = [(tmp_path / name).as_uri() for name in ("nowhere", "a mirror")]
    assert download(tmp_path / "file", urls, MD5).read_bytes() == GOOD


@pytest.mark.parametrize(
    ("fault", "n_attempts"), [("half", 3), ("busy", 3), ("nothing", 3), ("forbidden", 1), ("page", 1)]
)
def test_what_may_pass_is_tried_again_and_nothing_else(server, tmp_path, fault, n_attempts):
    with pytest.raises(DownloadError):
        download(tmp_path / "file", [f"{server.url}/{fault}"], MD5)
    assert server.requests == [f"/{fault}"] * n_attempts


def test_a_download_that_broke_off_starts_anew(server, tmp_path):
    assert download(tmp_path / "file", [f"{server.url}/hasty"], MD5).read_bytes() == GOOD
    assert server.requests == ["/hasty", "/hasty"]


def test_a_server_that_is_away_costs_no_pause(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES", (1000.0,))
    with pytest.raises(DownloadError, match=r"fetch http://127\.0\.0\.1:9/file and save it as .*/file$"):
        download(tmp_path / "file", ["http://127.0.0.1:9/file"], MD5)


def test_a_web_page_is_called_one(server, tmp_path):
    for checksum in (MD5, None):
        with pytest.raises(DownloadError, match="a web page"):
            download(tmp_path / "file", [f"{server.url}/page"], checksum)
    assert [p.name for p in tmp_path.iterdir()] in ([], [".file.lock"])


class TestWithoutAKnownChecksum:
    def test_the_first_file_is_kept_and_any_other_one_is_refused(self, server, tmp_path, caplog):
        path = tmp_path / "file"
        download(path, [f"{server.url}/good"], None)
        assert pinned(path) == SHA256 and SHA256[7:] in caplog.text
        path.write_bytes(b"changed")
        with pytest.raises(DownloadError, match=f"in place of SHA-256 {SHA256[7:]}"):
            download(path, [f"{server.url}/changed"], None)
        assert download(path, [f"{server.url}/good"], None).read_bytes() == GOOD
        assert server.requests == ["/good", "/changed", "/good"]

    def test_a_file_put_there_by_hand_counts_as_the_first(self, server, tmp_path):
        (tmp_path / "file").write_bytes(GOOD)
        download(tmp_path / "file", [f"{server.url}/busy"], None)
        assert server.requests == [] and pinned(tmp_path / "file") == SHA256

    @pytest.mark.parametrize("fault", ["half", "empty", "page", "forbidden"])
    def test_a_fault_pins_nothing(self, server, tmp_path, fault):
        with pytest.raises(DownloadError):
            download(tmp_path / "file", [f"{server.url}/{fault}"], None)
        assert pinned(tmp_path / "file") is None and not (tmp_path / "file").exists()

    def test_a_web_page_saved_by_hand_is_replaced(self, server, tmp_path):
        (tmp_path / "file").write_bytes(PAGE)
        assert download(tmp_path / "file", [f"{server.url}/good"], None).read_bytes() == GOOD
