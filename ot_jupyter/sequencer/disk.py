"""Writing a file of this machine so that nobody ever reads half of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile


def replace_file(path: str, data: bytes) -> None:
    """Put ``data`` in the place of the file in one step; its mode stays, a link stays a link.

    Written in place, as Jupyter does it, another program could read a truncated file, and two
    servers that save at once would mix their bytes. Raises ``OSError``.
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".~{name[:100]}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(f"{name} is read-only")
            shutil.copymode(path, temporary)
        else:
            os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
