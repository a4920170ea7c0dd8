"""Whether locks hold where a workspace lies, so that several processes and machines may use it at once.

Locks are taken with flock (the package filelock). The tables of a workspace are edited under a lock, so that no row is
lost; jobs take turns under one; and one process at a time makes room in the store. Over NFS, Linux turns flock into a
lock that the server keeps for all machines, unless the disk is mounted so that locks stay on each machine. Results
themselves need no lock: they are written whole or not at all.

The jobs' own folder holds a database (sqlite, by way of diskcache), which is not safe on network disks. It lies where
temporary files lie.
"""

import os
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from aevis_dash.files import READ_ONLY, part_prefix

MOUNTS = Path("/proc/self/mounts")
"""Where Linux lists what is mounted."""
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs", "beegfs", "ocfs2")
"""The file systems of network disks, beside those of FUSE."""
_LOCAL_LOCKS = {
    "nfs": ("nolock", "local_lock=all", "local_lock=flock"),
    "cifs": ("nobrl", "nolease"),
    "smb3": ("nobrl",),
    "lustre": ("localflock", "noflock"),
    "ocfs2": ("localflocks",),
}
"""The options of mounting by which locks stay on each machine or are not taken at all."""


@dataclass(frozen=True)
class Mount:
    """What is mounted where a folder lies: the kind of file system, and the options."""

    kind: str
    options: tuple[str, ...] = ()

    @property
    def is_network(self) -> bool:
        """Whether the disk may be another machine's."""
        return self.kind in _NETWORK or self.kind.startswith("fuse.") or self.kind == "fuse"

    @property
    def locks_locally(self) -> str:
        """Why locks do not hold between machines; "" where nothing says so."""
        known = _LOCAL_LOCKS.get(self.kind.removesuffix("4"), ())
        option = next((one for one in self.options if one in known), "")
        if option:
            return f"{self.kind} is mounted with the option {option}"
        return f"{self.kind} may keep locks on each machine" if self.kind.startswith("fuse") else ""


def mount_of(folder: Path) -> Mount | None:
    """What is mounted where a folder lies; None where the system does not tell."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # only Linux has the list
        return None
    place, found, depth = Path(os.path.realpath(folder)), None, -1
    for line in lines:
        _, where, kind, options, *_ = [*line.split(" "), "", "", "", ""]
        root = Path(where.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        if place.is_relative_to(root) and len(root.parts) >= depth:  # what is mounted later hides what was there
            found, depth = Mount(kind, tuple(options.split(","))), len(root.parts)
    return found


def probe(folder: Path) -> str:
    """Try in a folder whether a lock keeps a second one out; the reason where it does not, otherwise "".

    A folder that cannot be written needs no lock.
    """
    file = folder / f"{part_prefix()}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        with FileLock(file, timeout=0):
            try:
                with FileLock(file, timeout=0):
                    return "a lock does not keep a second one out"
            except Timeout:
                return ""
    except OSError as error:
        return "" if error.errno in READ_ONLY else f"no lock can be taken ({error.strerror})"
    except NotImplementedError:
        return "no lock can be taken"
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def troubles(root: Path) -> tuple[str, ...]:
    """Sentences on what is not safe about the disks of a workspace and of temporary files.

    Args:
        root: the folder of the workspace.
    """
    found, mount = [], mount_of(root)
    why = probe(root) or (mount.locks_locally if mount is not None else "")
    if why:
        found.append(
            f"Locks do not hold where {root} lies: {why}. Let one machine alone change the workspace at a time "
            "(attack, import, serve), or put it on a disk that locks, such as NFS 4 without nolock and local_lock."
        )
    temporary = Path(tempfile.gettempdir())
    place = mount_of(temporary)
    if place is not None and place.is_network:
        found.append(
            f"Temporary files lie on a network disk ({place.kind}, at {temporary}), on which the jobs' database is not "
            "safe. Let TMPDIR name a folder on this machine's own disk."
        )
    return tuple(found)
