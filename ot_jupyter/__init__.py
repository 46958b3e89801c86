"""Several people and programs in one Jupyter notebook."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    # Imported here: the algebra and the client need no server.
    from .extension import OtJupyter

    return [{"module": "ot_jupyter.extension", "app": OtJupyter}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "ot-jupyter"}]
