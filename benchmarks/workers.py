"""Parts of a measurement that run in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from .servers import REPOSITORY


def run(module: str, *arguments: str, python: str = sys.executable, about: Any = None) -> Any:
    """What ``python -m module`` answers as JSON; ``about`` is its input. Raises RuntimeError."""
    environment = dict(os.environ)
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)  # the other Python has packages of its own
    done = subprocess.run(
        [python, "-m", module, *arguments], input=json.dumps(about), cwd=REPOSITORY,
        env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{module}: {done.stderr[-4000:]}")
    return json.loads(done.stdout)
