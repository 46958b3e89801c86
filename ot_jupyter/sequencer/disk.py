"""Writing a file of this machine so that nobody ever reads half of it, and nobody's write is lost.

Written in place, as Jupyter does it, another program could read a truncated file, two servers that
save at once would mix their bytes, and what a program wrote a moment ago would be gone. Here the
new file is made beside the old one and the two are *exchanged* in one step; then there is time to
see what was displaced.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

FileStat = tuple[int, int, int]


def file_stat(path: str) -> FileStat:
    """What changes when the file changes: nanoseconds, bytes, inode. Raises ``OSError``."""
    found = os.stat(path)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


@contextlib.contextmanager
def exchanged(path: str, data: bytes) -> Iterator[str]:
    """Put ``data`` in the place of the file in one step; its mode stays, a link stays a link.

    Gives the path where the displaced file is for as long as the context lasts. If the context
    ends with an exception, the files are exchanged back. Where the file system can't exchange,
    the displaced file is a copy, made just before. Raises ``OSError``.
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only", name)
    descriptor, beside = tempfile.mkstemp(prefix=f".~{name[:100]}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, beside)
        _exchange(beside, path)
        try:
            yield beside
        except BaseException:
            _exchange(beside, path)
            raise
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside)


def _exchange(a: str, b: str) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        done = rename(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
        if done == 0:
            return
        error = ctypes.get_errno()
        if error not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise OSError(error, os.strerror(error), b)
    third = a + ".old"
    shutil.copy2(b, third)
    os.replace(a, b)
    os.replace(third, a)
