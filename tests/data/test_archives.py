import io
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from invariances.data import archives as module
from invariances.data.archives import MissingFiles, unpack_archive

CONTENT = {f"{i}.jpg": bytes([i]) * (1000 + i) for i in range(6)}


def pack(path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in CONTENT.items():
                archive.writestr(f"pictures/{name}", content)
    else:
        with tarfile.open(path, "w") as archive:
            for name, content in CONTENT.items():
                member = tarfile.TarInfo(f"pictures/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def unpack(tmp_path, archive):
    folder = tmp_path / "out"
    unpack_archive(folder, archive, "Fetch it.", lambda name: folder / PurePosixPath(name).name)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=["a.zip", "a.tar"])
def archive(tmp_path, request):
    return pack(tmp_path / request.param)


def test_every_file_is_unpacked(tmp_path, archive):
    assert unpack(tmp_path, archive) == CONTENT


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path, archive):
    (tmp_path / "out").mkdir()
    assert unpack(tmp_path, archive) == {}


def test_it_goes_on_where_it_was_interrupted(tmp_path, archive, monkeypatch):
    write, written = module._write, []

    def interrupted(source, size, path):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path.name)
        write(source, size, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_write", interrupted)
        unpack(tmp_path, archive)
    first = (tmp_path / "out" / "0.jpg").stat()
    (tmp_path / "out" / "2.jpg").write_bytes(b"half")
    assert unpack(tmp_path, archive) == CONTENT
    assert (tmp_path / "out" / "0.jpg").stat().st_ino == first.st_ino


def test_neither_folder_nor_archive(tmp_path):
    with pytest.raises(MissingFiles, match=rf"neither the folder {tmp_path}/out nor .*a\.zip .*Fetch it"):
        unpack(tmp_path, tmp_path / "a.zip")


def test_a_folder_in_the_archives_place(tmp_path):
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(MissingFiles, match=r"nor the archive file .*a\.zip is there"):
        unpack(tmp_path, tmp_path / "a.zip")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_cannot_be_opened_leaves_no_folder(tmp_path, archive):
    archive.write_bytes(b"<html>")
    with pytest.raises(ValueError, match="damaged or no archive"):
        unpack(tmp_path, archive)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["page", "half"])
def test_a_damaged_archive_is_named_and_a_good_one_goes_on(tmp_path, archive, damage):
    whole = archive.read_bytes()
    archive.write_bytes(b"<html>" if damage == "page" else whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{archive} is damaged or no archive"):
        unpack(tmp_path, archive)
    archive.write_bytes(whole)
    assert unpack(tmp_path, archive) == CONTENT
