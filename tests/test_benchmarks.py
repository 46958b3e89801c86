"""The benchmarks run, and everything that they type arrives. How fast is not tested anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.table import Aim, Case, Figure, Row, as_json, as_markdown, replace_table
from tests.server_process import REPOSITORY


def measure(folder: Path, *arguments: str) -> dict[str, Any]:
    """What a run writes as JSON, by row."""
    file = folder / "figures.json"
    command = [sys.executable, "-m", "benchmarks", *arguments, "--json", str(file)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written: dict[str, Any] = json.loads(file.read_text())
    assert int(written["machine"]["cores"]) > 0
    for row in written["rows"]:
        assert f"### {row['title']}" in done.stdout
    return {row["name"]: row for row in written["rows"]}


def test_rows_without_a_server(tmp_path: Path) -> None:
    rows = measure(tmp_path, "transforms", "traces", "--quick", "--against")
    kinds = {case["title"]: case["figures"] for case in rows["transforms"]["cases"]}
    assert "edit, edit in one cell" in kinds
    assert all(figures["ot-jupyter"]["us"] > 0 for figures in kinds.values())
    (generated,) = rows["traces"]["cases"]
    assert generated["figures"]["ot-jupyter"]["transactions"] == 5000


def test_all_letters_of_people_arrive(tmp_path: Path) -> None:
    against = ("--against", "relay", "relay, joining")
    rows = measure(tmp_path, "people", "--people", "2", "--seconds", "1", *against)
    (case,) = rows["people"]["cases"]
    check_delivered(case["figures"], ["ot-jupyter", "relay", "relay, joining"])
    assert set(case["ratios"]) == {"relay", "relay, joining"}


def test_all_letters_of_writers_arrive(tmp_path: Path) -> None:
    rows = measure(tmp_path, "writers", "--writers", "3", "--seconds", "0.5", "--against")
    flat_out, one_letter = rows["writers"]["cases"]
    for case in (flat_out, one_letter):
        check_delivered(case["figures"], ["ot-jupyter"])
    figures = flat_out["figures"]["ot-jupyter"]
    assert figures["changes"] < figures["edits"], "what waits is composed"
    figures = one_letter["figures"]["ot-jupyter"]
    assert figures["changes"] == figures["edits"]


def check_delivered(figures: dict[str, Any], names: list[str]) -> None:
    assert sorted(figures) == sorted(names)
    for name, one in figures.items():
        assert one["edits"] > 0, name
        assert one["undelivered"] == 0, name
        assert 0 < one["p50_ms"] <= one["p99_ms"], name
        assert one["deliveries_per_s"] > 0, name


def test_the_table() -> None:
    case = Case("2 people", {"ot-jupyter": {"ms": 2.0, "s": 9.0}, "other": {"ms": 5.0, "s": 3.0}})
    case.notes["third"] = "node not found"
    case.aims = [Aim("ms against other", case.less("ms", "other"), 2)]
    case.aims += [Aim("ms against third", case.less("ms", "third"), 2)]
    row = Row("people", "People", (Figure("ms", "ms", 1), Figure("s", "/s", better=1)), [case])
    lines = as_markdown(row).splitlines()
    assert [cell.strip() for cell in lines[5].split("|")[2:-1]] == [
        "other",
        "5.0 (2.5×)",
        "3 (3.0×)",
    ]
    assert "node not found" in lines[6]
    assert "- 2 people: ms against other at least 2×: 2.5×, reached" in lines
    assert "- 2 people: ms against third at least 2×: not measured" in lines
    (plain,) = as_json([row], {})["rows"][0]["cases"]
    assert plain["ratios"] == {"other": {"ms": 2.5, "s": 3.0}}
    assert [aim["reached"] for aim in plain["aims"]] == [True, False]
    assert [aim["value"] for aim in plain["aims"]] == [2.5, None]


def test_the_table_has_a_place_in_a_document() -> None:
    row = Row("people", "People", (Figure("ms", "ms"),), [Case("2 people", {"ot-jupyter": {}})])
    before = "# Speed\n<!-- table -->\nold\n<!-- end of the table -->\nwhy\n"
    after = replace_table(before, [row], {"cores": "2"})
    assert after.startswith("# Speed\n<!-- table -->\n\nMeasured with: cores 2.\n\n### People\n")
    assert after.endswith("\n<!-- end of the table -->\nwhy\n")
    assert "old" not in after
    assert replace_table(after, [row], {"cores": "2"}) == after
