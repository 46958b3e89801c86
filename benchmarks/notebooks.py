"""Notebooks of chosen sizes, the same on every run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

TEXT = "for value in frame: print total model = fit(x, y) # the mean of what was read"


def notebook(cells: int = 100, source_bytes: int = 300, output_bytes: int = 200) -> dict[str, Any]:
    """A notebook in format 4.5 whose code cells are called ``c0``, ``c1``, …; sizes per cell."""
    rng = random.Random(f"{cells} {source_bytes} {output_bytes}")
    return {
        "cells": [
            {
                "cell_type": "code", "id": f"c{index}", "metadata": {},
                "execution_count": index + 1,
                "source": _text(rng, source_bytes),
                "outputs": [_stream(_text(rng, output_bytes))] if output_bytes else [],
            }
            for index in range(cells)
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip


def small(people: int) -> dict[str, Any]:
    """A notebook with a short cell for each of them, and no outputs.

    Short is kind to servers that copy the whole document for every edit, as the store of ShareDB in
    memory does: with 100 cells of 500 bytes its figures are a third.
    """
    return notebook(max(20, people), source_bytes=80, output_bytes=0)


def write(folder: Path, name: str, content: dict[str, Any]) -> str:
    """Write a notebook's file; returns its name."""
    (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return name


def _text(rng: random.Random, size: int) -> str:
    """Lines of code-like ASCII text, of so many bytes."""
    words, lines, length = TEXT.split(), [], 0
    while length < size:
        line = " ".join(rng.choices(words, k=10))
        lines.append(line)
        length += len(line) + 1
    return "\n".join(lines)[:size]


def _stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}
