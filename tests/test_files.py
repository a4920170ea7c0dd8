"""Writing files: whole or not at all, never over what is no file; and what killed writers left goes away."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aevis_dash import make_workspace
from aevis_dash.cli.output import check_writable
from aevis_dash.domain import AevisError
from aevis_dash.files import part_prefix, write_atomically
from aevis_dash.learning import Learning
from aevis_dash.workbench import open_workbench


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, seen = tmp_path / "file", []

    def write(file):
        file.write(b"half")
        file.flush()
        seen.append(path.exists())
        file.write(b" whole")

    write_atomically(path, write)
    assert seen == [False]
    assert path.read_bytes() == b"half whole"


def test_a_file_has_the_mode_that_any_new_file_gets(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", lambda file: file.write(b"x"))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def write(path, content=b"new"):
    write_atomically(path, lambda file: file.write(content))


@pytest.fixture
def place(tmp_path):
    return tmp_path / "place"


def make_pipe(place):
    os.mkfifo(place)


def make_folder(place):
    place.mkdir()


def make_loop(place):
    place.symlink_to(place.name)


def make_device(place):
    """As /dev/full: a device that takes no byte. Only the superuser may make one."""
    try:
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("only the superuser may make a device")


@pytest.mark.parametrize("make", [make_pipe, make_folder, make_loop, make_device])
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_never_replaced(place, make, linked):
    make(place)
    before = place.lstat()
    named = place.with_name("link") if linked else place
    if linked:
        named.symlink_to(place)
    for refused in (write, check_writable):
        with pytest.raises(AevisError, match=f"{named} is a .*, which is not replaced by a file"):
            refused(named)
    after = place.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert named.is_symlink() == (linked or make is make_loop)
    assert not list(place.parent.glob(".part-*"))


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path, place, there):
    """Also from another folder, beside which the unfinished file must then lie."""
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    if there:
        target.write_bytes(b"old")
    place.symlink_to(target)
    write(place)
    assert place.is_symlink()
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()


def test_a_file_that_is_replaced_hands_on_its_permissions(place):
    place.write_bytes(b"old")
    place.chmod(0o640)
    write(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_it_returns(place, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace

    def synced(handle):
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        done.append("folder" if folder else f"file of {os.fstat(handle).st_size}")
        sync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("moved"), replace(*names)))
    write(place)
    assert done == ["file of 3", "moved", "folder"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_the_path(place, code):
    def full(_file):
        raise OSError(code, os.strerror(code))

    with pytest.raises(AevisError, match=f"{place} cannot be written, because its disk is full"):
        write_atomically(place, full)
    assert list(place.parent.iterdir()) == []


def test_any_other_error_names_the_path(place):
    def fails(_file):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output") as error:
        write_atomically(place, fails)
    assert error.value.filename == str(place)


def test_opening_a_workspace_sweeps_what_killed_writers_left_in_it(world):
    """In the store, among the adversarial images, beside the tables; what this process writes, and files, stay."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    pid = int(ended.stdout)
    folders = [world, world / "adversarial", world / "images", world / "cache" / "datapath"]
    left = [folder / f"{part_prefix()}{pid}-0" for folder in folders]
    kept = [world / f"{part_prefix()}{os.getpid()}-0", world / ".part-of-mine", world / "adversarial" / "a.part"]
    for path in (*left, *kept):
        path.touch()
    open_workbench(world)
    assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in kept)


def test_every_file_of_a_drawn_world_is_written_whole(tmp_path, monkeypatch):
    """What a killed run leaves half would be taken for finished by the next one."""
    made = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (made.append(Path(new)), replace(old, new)))
    monkeypatch.setattr(make_workspace, "WORLD_IMAGES", 24)
    monkeypatch.setattr(make_workspace, "WORLD_ATTACKED", 4)
    monkeypatch.setattr(make_workspace, "WORLD_EPSILONS", (8.0,))
    make_workspace.make_world(tmp_path / "world")
    there = {path for path in (tmp_path / "world").rglob("*") if path.is_file()}
    assert {path for path in there if path.suffix != ".lock"} == set(made)
    assert {"names.txt", make_workspace.WORLD_WEIGHTS, "workspace.toml"} <= {path.name for path in there}


def test_a_checkpoint_goes_only_after_the_next_one_is_stored(world, monkeypatch):
    bench = open_workbench(world)
    monkeypatch.setattr("aevis_dash.learning.CHECKPOINT", 16)
    bench.learning.learn(first=16)
    (stored,) = (world / "cache" / "learned").glob("*.npz")

    def fails(path, _write):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("aevis_dash.files.replace_whole", fails)
    index = Learning(bench.workspace, bench.store, bench.classifier).learn(first=32)
    assert index.seen == 32
    assert stored.exists()
