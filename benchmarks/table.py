"""The table: what was measured, beside what was aimed at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

OURS = "ot-jupyter"
BEGIN, END = "<!-- table -->", "<!-- end of the table -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """What one figure is called, and how it is written. ``better``: 1 the higher, -1 the lower,
    0 neither."""

    key: str
    title: str
    digits: int = 0
    better: int = -1


@dataclass(frozen=True, slots=True)
class Aim:
    """Something aimed at: ``value`` is to be at least, or at most, ``limit``. By default both say
    how many times better ours is."""

    text: str
    value: float
    limit: float
    at_most: bool = False
    unit: str = "×"

    @property
    def reached(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass(slots=True)
class Case:
    """One load on several servers, side by side. ``figures``: by server, by the figure's key;
    a server that could not be measured has a ``note`` instead."""

    title: str
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    aims: list[Aim] = field(default_factory=list)

    def more(self, key: str, other: str, ours: str = OURS) -> float:
        """How many times the other's ours is; NaN if one of them was not measured."""
        return _divide(self.figures.get(ours, {}).get(key), self.figures.get(other, {}).get(key))

    def less(self, key: str, other: str, ours: str = OURS) -> float:
        """How many times ours the other's is; NaN if one of them was not measured."""
        return self.more(key, ours, other)


@dataclass(slots=True)
class Row:
    """One kind of load. ``ours``: whom the others are compared with."""

    name: str
    title: str
    columns: Sequence[Figure]
    cases: list[Case] = field(default_factory=list)
    ours: str = OURS


def _divide(above: float | None, below: float | None) -> float:
    return above / below if above is not None and below else math.nan


def as_json(rows: Sequence[Row], machine: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, plain."""
    plain = [asdict(row) for row in rows]
    for row, one in zip(rows, plain, strict=True):
        for case, plain_case in zip(row.cases, one["cases"], strict=True):
            for aim, plain_aim in zip(case.aims, plain_case["aims"], strict=True):
                plain_aim["reached"] = aim.reached
            plain_case["ratios"] = ratios(row, case)
    result: dict[str, Any] = _without_nan({"machine": dict(machine), "rows": plain})
    return result


def _without_nan(value: Any) -> Any:
    """JSON has none."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def ratios(row: Row, case: Case) -> dict[str, dict[str, float]]:
    """By other server, by figure: how many times better ours is."""
    return {
        server: {
            figure.key: better
            for figure in row.columns
            if figure.better and not math.isnan(better := _better(case, figure, server, row.ours))
        }
        for server in case.figures
        if server != row.ours
    }


def _better(case: Case, figure: Figure, server: str, ours: str) -> float:
    compare = case.more if figure.better > 0 else case.less
    return compare(figure.key, server, ours)


def as_markdown(row: Row) -> str:
    """A row as a Markdown table with its aims. In brackets: how many times better ours is."""
    lines = [f"### {row.title}", ""]
    lines += _table([["", "", *(figure.title for figure in row.columns)], *_cells(row)])
    lines += [f"- {case.title}: {_write_aim(aim)}" for case in row.cases for aim in case.aims]
    return "\n".join(lines).rstrip() + "\n"


def _write_aim(aim: Aim) -> str:
    limit = f"{'at most' if aim.at_most else 'at least'} {aim.limit:g}{aim.unit}"
    if math.isnan(aim.value):
        return f"{aim.text} {limit}: not measured"
    reached = "reached" if aim.reached else "**not reached**"
    return f"{aim.text} {limit}: {_short(aim.value)}{aim.unit}, {reached}"


def replace_table(text: str, rows: Sequence[Row], machine: Mapping[str, str]) -> str:
    """A document with the rows in the place that is marked for the table. Raises ValueError if
    there is none."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"there is no {BEGIN} … {END}")
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    table = "\n".join(map(as_markdown, rows))
    return f"{head}{begin}\n\nMeasured with: {about}.\n\n{table}\n{end}{tail}"


def _cells(row: Row) -> list[list[str]]:
    cells = []
    for case in row.cases:
        better = ratios(row, case)
        for server in (*case.figures, *case.notes):
            values = case.figures.get(server, {})
            line = []
            for figure in row.columns:
                text = _write(values[figure.key], figure.digits) if figure.key in values else ""
                times = better.get(server, {}).get(figure.key)
                line.append(text if times is None else f"{text} ({_short(times)}×)")
            if server in case.notes:
                line[0] = case.notes[server]
            cells.append([case.title, server, *line])
    return cells


def _write(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def _short(value: float) -> str:
    """With two digits at least: 0.63, 7.1, 1,234."""
    return f"{value:,.{0 if value >= 10 else 1 if value >= 1 else 2}f}"


def _table(lines: list[list[str]]) -> list[str]:
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]

    def write(line: list[str]) -> str:
        first, second, *rest = (
            text.ljust(width) if at < 2 else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        return "| " + " | ".join([first, second, *rest]) + " |"

    rule = ["-" * width if at < 2 else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    return [write(lines[0]), write(rule), *map(write, lines[1:]), ""]
