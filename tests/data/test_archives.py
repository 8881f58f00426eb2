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


def member(name, content=b"x", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content) if kind == tarfile.REGTYPE else 0, kind, link
    return info, io.BytesIO(content)


def tar_of(*members):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, content)
    return packed.getvalue()


C01 = {
    "an inner archive leads up": [member("n1.tar", tar_of(member("n1_0.JPEG"), member("../../evil.JPEG")))],
    "an inner archive is absolute": [member("n1.tar", tar_of(member("/tmp/evil_of_c01.JPEG")))],
    "up": [member("good.jpg"), member("a/../../evil.jpg")],
    "a link": [member("etc", kind=tarfile.SYMTYPE, link="/etc"), member("etc/evil.jpg")],
    "a hard link": [member("passwd", kind=tarfile.LNKTYPE, link="/etc/passwd")],
    "a device": [member("null", kind=tarfile.CHRTYPE)],
}


@pytest.mark.parametrize("members", C01.values(), ids=C01)
def test_C01_archives_write_nothing_outside(tmp_path, members):
    archive, folder = tmp_path / "home" / "a.tar", tmp_path / "home" / "out"
    archive.parent.mkdir()
    archive.write_bytes(tar_of(*members))
    for target in (lambda name: folder / name.split("_")[0] / name, lambda name: folder / PurePosixPath(name).name):
        with pytest.raises(ValueError, match=r"a\.tar holds '.*'.*nothing was unpacked"):
            unpack_archive(folder, archive, "Fetch it.", target)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left <= {"home", "home/a.tar", "home/.out.lock"}


@pytest.mark.parametrize("name", ["../evil.jpg", "img_align_celeba/..", "/evil.jpg", "a\\..\\..\\evil.jpg"])
def test_C01_zip_archives_too(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.jpg", b"x")
        archive.writestr(name, b"x")
    with pytest.raises(ValueError, match="leads out of the folder"):
        unpack(tmp_path, tmp_path / "a.zip")
    assert not (tmp_path / "out").exists()


def test_C01_leftovers_of_a_killed_unpacking_are_removed(tmp_path, archive):
    left = tmp_path / "out" / ".5.jpg.abcd1234"
    left.mkdir(parents=True)
    (left / "5.jpg").write_bytes(b"half")
    (tmp_path / "out" / ".unpacking").touch()
    assert unpack(tmp_path, archive) == CONTENT
