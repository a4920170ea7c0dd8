"""Whether locks hold on a disk: what mounts say, and what a trial says."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from aevis_dash import locks
from aevis_dash.locks import Mount, mount_of, probe, troubles

MOUNTS = """/dev/sda1 / ext4 rw,relatime 0 0
server:/lab /srv/lab nfs4 rw,vers=4.2,local_lock=none 0 0
old:/lab /srv/old nfs rw,vers=3,nolock,local_lock=all 0 0
tmpfs /srv/lab/fast tmpfs rw 0 0
me@host:/ /srv/by\\040ssh fuse.sshfs rw 0 0
"""


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    file = tmp_path / "mounts"
    file.write_text(MOUNTS)
    monkeypatch.setattr(locks, "MOUNTS", file)


@pytest.mark.parametrize(
    ("folder", "kind", "network", "why"),
    [
        ("/home/lab", "ext4", False, ""),
        ("/srv/lab", "nfs4", True, ""),
        ("/srv/lab/world/cache", "nfs4", True, ""),
        ("/srv/laboratory", "ext4", False, ""),
        ("/srv/old/world", "nfs", True, "nfs is mounted with the option nolock"),
        ("/srv/lab/fast/world", "tmpfs", False, ""),
        ("/srv/by ssh/world", "fuse.sshfs", True, "fuse.sshfs may keep locks on each machine"),
    ],
)
def test_a_folder_lies_where_the_nearest_mount_is(mounted, folder, kind, network, why):
    found = mount_of(Path(folder))
    assert (found.kind, found.is_network, found.locks_locally) == (kind, network, why)


@pytest.mark.parametrize("option", ["local_lock=flock", "local_lock=all", "nolock"])
def test_nfs_whose_locks_stay_on_each_machine(option):
    assert Mount("nfs4", ("rw", option)).locks_locally == f"nfs4 is mounted with the option {option}"


def test_where_the_system_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(locks, "MOUNTS", tmp_path / "nothing")
    assert mount_of(tmp_path) is None
    assert troubles(tmp_path) == ()


def test_a_disk_that_locks_passes_the_trial_and_keeps_nothing(tmp_path):
    assert probe(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_disk_on_which_a_lock_keeps_nobody_out_is_told_of(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert probe(tmp_path) == "a lock does not keep a second one out"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_that_refuses_locks_is_told_of_when_serving_starts(tmp_path, monkeypatch, code):
    import fcntl

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (said,) = troubles(tmp_path)
    assert said == (
        f"Locks do not hold where {tmp_path} lies: no lock can be taken ({os.strerror(code)}). Let one machine alone "
        "change the workspace at a time (attack, import, serve), or put it on a disk that locks, such as NFS 4 without "
        "nolock and local_lock."
    )


def test_a_folder_that_cannot_be_written_needs_no_lock(tmp_path, monkeypatch):
    def refuse(*_args, **_named):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(locks, "FileLock", refuse)
    assert probe(tmp_path) == ""


def test_temporary_files_on_a_network_disk_are_told_of(mounted, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", "/srv/lab/tmp")
    (said,) = troubles(tmp_path)
    assert said.startswith("Temporary files lie on a network disk (nfs4, at /srv/lab/tmp)")
    assert "TMPDIR" in said
