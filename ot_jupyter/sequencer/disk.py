"""Writing a file of this machine so that nobody ever reads half of it, and nobody's write is lost.

Written in place, as Jupyter does it, another program could read a truncated file, two servers that
save at once would mix their bytes, and what a program wrote a moment ago would be gone. Here the
new content is *staged* in a file beside, named after the attempt to save; then the two files are
*exchanged* in one step, and if what was displaced is not what was seen before, they are exchanged
back. Whoever takes the staged file away keeps a server that sleeps from writing later.

All functions raise ``OSError``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from uuid import uuid4

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_NEIGHBOURS = 2000  # entries of a folder that are looked through for a file that was moved

FileStat = tuple[int, int, int]


def file_stat(path: str) -> FileStat:
    """What changes when the file changes: nanoseconds, bytes, inode."""
    return _stat(os.stat(path))


def _stat(found: os.stat_result) -> FileStat:
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def stage(path: str, attempt: str, data: bytes) -> None:
    """Write the file beside. It gets mode and, where that is allowed, owner of the file that it
    is to replace; that one may be missing, but not be read-only."""
    path, beside = _places(path, attempt)
    before = os.stat(path) if os.path.exists(path) else None
    # Also for a user who may write everything: a mode without any w says "leave it alone".
    if before is not None and not (before.st_mode & 0o222 and os.access(path, os.W_OK)):
        raise PermissionError(errno.EACCES, "the file is read-only", os.path.basename(path))
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            shutil.copymode(path, beside)
            with contextlib.suppress(OSError, AttributeError):
                os.chown(beside, before.st_uid, before.st_gid)
    except BaseException:
        discard(path, attempt)
        raise


def put(path: str, attempt: str, seen: FileStat | None) -> FileStat | None:
    """Exchange the staged file with the file, if that is the one that was ``seen`` (None: there
    was none), and remove what was displaced.

    Returns what the file's stat is now; None, and all is as before, if it was another file.
    Raises ``FileNotFoundError`` if what was staged is gone, or went over and was replaced or
    removed: then ``resolve`` is to be called.
    """
    path, beside = _places(path, attempt)
    mine = file_stat(beside)
    if seen is None:
        return mine if _appear(beside, path) else None
    try:
        _exchange(beside, path)
    except FileNotFoundError:
        file_stat(beside)  # else it is the file itself that is gone
        return None
    if file_stat(beside) != seen:
        _put_back(beside, path, mine)
        return None
    os.unlink(beside)
    return mine


def _put_back(beside: str, path: str, mine: FileStat) -> None:
    """Undo an exchange. Who replaced the file once more meanwhile wrote last, and what he had read
    was ours: his stays, what was displaced is left to ``resolve``, and ``FileNotFoundError`` says
    so."""
    _exchange(beside, path)
    if file_stat(beside) != mine:
        _exchange(beside, path)
        raise FileNotFoundError(errno.ENOENT, "replaced by others in the same moment", path)
    os.unlink(beside)


def resolve(
    path: str, attempt: str, is_mine: Callable[[bytes], bool], is_image: Callable[[bytes], bool]
) -> bool | None:
    """Take what a server staged that does not go on, so that it can't exchange it any more. If it
    did already, and displaced what is neither its own nor the image, put that back.

    Returns whether the file is the staged one, or was made from it; None if that can't be told.
    """
    path, beside = _places(path, attempt)
    held = f"{beside}.{uuid4().hex[:8]}"  # of two who do this, one gets the file
    try:
        os.rename(beside, held)
    except FileNotFoundError:
        return None
    data = Path(held).read_bytes()
    made = is_image(data)
    if not made and not is_mine(data):
        displaced = file_stat(held)
        with contextlib.suppress(FileNotFoundError):
            if is_mine(Path(path).read_bytes()):
                _exchange(held, path)
        if file_stat(held) == displaced:  # somebody wrote after it; but nothing is thrown away
            os.rename(held, _spare_name(path))
            return True
    os.unlink(held)
    return made


def _spare_name(path: str) -> str:
    stem, end = os.path.splitext(path)
    return f"{stem}.displaced-{uuid4().hex[:8]}{end}"


def discard(path: str, attempt: str) -> None:
    """Remove what was staged."""
    _, beside = _places(path, attempt)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)


def left_behind(path: str) -> Iterator[tuple[str, float]]:
    """The attempts that are staged beside a file, and when they were written (seconds since
    1970)."""
    folder, name = os.path.split(os.path.realpath(path))
    prefix = f".~{name[:100]}."
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            attempt = entry.name[len(prefix) :]
            if entry.name.startswith(prefix) and attempt.isalnum():
                with contextlib.suppress(FileNotFoundError):
                    yield attempt, entry.stat().st_mtime


def find_moved(path: str, known: FileStat, root: str) -> str | None:
    """Where a file went that was at ``path``: in its folder, or one step from it; or, if the
    folder itself is gone, in one that is now beside where it was."""
    folder, suffix = os.path.dirname(path), os.path.splitext(path)[1]
    near = [folder, *_folders(folder)]
    if os.path.realpath(folder) != os.path.realpath(root):
        parent = os.path.dirname(folder)
        near += [parent] if os.path.isdir(folder) else [parent, *_folders(parent)]
    for one in near:
        for entry in _visible(one):
            with contextlib.suppress(OSError):
                if entry.name.endswith(suffix) and entry.is_file() and _stat(entry.stat()) == known:
                    return entry.path
    return None


def _folders(folder: str) -> list[str]:
    return [entry.path for entry in _visible(folder) if entry.is_dir(follow_symlinks=False)]


def _visible(folder: str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, _NEIGHBOURS):
            if not entry.name.startswith("."):
                yield entry


def _places(path: str, attempt: str) -> tuple[str, str]:
    """The file itself (a link stays a link), and the one beside."""
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    return path, os.path.join(folder, f".~{name[:100]}.{attempt}")


def _appear(beside: str, path: str) -> bool:
    """Give a staged file its name, unless there is a file of that name."""
    if _rename(beside, path, _RENAME_NOREPLACE, but=(errno.EEXIST,)):
        return True
    if os.path.exists(path):
        return False
    os.rename(beside, path)
    return True


def _exchange(a: str, b: str) -> None:
    """In one step; where the file system can't, in two, with a copy of ``b`` in the place of
    ``a``."""
    if _rename(a, b, _RENAME_EXCHANGE):
        return
    third = a + ".old"
    shutil.copy2(b, third)
    os.replace(a, b)
    os.replace(third, a)


def _rename(a: str, b: str, flag: int, but: tuple[int, ...] = ()) -> bool:
    """``renameat2``. False where there is none, or its error is one of ``but``."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), flag) == 0:
        return True
    error = ctypes.get_errno()
    if error in _UNSUPPORTED or error in but:
        return False
    raise OSError(error, os.strerror(error), b)
