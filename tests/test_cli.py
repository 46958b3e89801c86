"""The ``ot-jupyter`` command, as a user runs it, against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ot_jupyter.client.describe import describe, describe_entry, plain
from ot_jupyter.client.sync import connect
from tests.server_process import ServerProcess, free_port

COMMAND = str(Path(sys.executable).with_name("ot-jupyter"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root")) as process:
        yield process


@pytest.fixture
def path(server: ServerProcess, request: pytest.FixtureRequest) -> str:
    cells = [
        nbformat.v4.new_code_cell("alpha = 1\nprint(alpha)", id="c0"),
        nbformat.v4.new_markdown_cell("# Title", id="c1"),
    ]
    name = f"{request.node.name.partition('[')[0]}.ipynb"
    notebook = nbformat.v4.new_notebook(cells=cells)
    (server.root / name).write_text(json.dumps(notebook))
    return name


def environment(server: ServerProcess | None, **more: str) -> dict[str, str]:
    names = ("JUPYTER", "OT_JUPYTER", "EDITOR", "VISUAL")
    own = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    own |= {"TZ": "UTC", "PYTHONIOENCODING": "utf-8"}
    if server is not None:
        own |= {"OT_JUPYTER_URL": server.url, "JUPYTER_TOKEN": server.token}
    return own | more


def run(
    server: ServerProcess | None, *arguments: str, stdin: str = "", **more: Any
) -> subprocess.CompletedProcess[str]:
    more.setdefault("env", environment(server))
    return subprocess.run(
        [COMMAND, *arguments], input=stdin, capture_output=True, encoding="utf-8", **more
    )


def done(server: ServerProcess | None, *arguments: str, stdin: str = "", **more: Any) -> str:
    """What the command prints; it must end well and say nothing else."""
    result = run(server, *arguments, stdin=stdin, **more)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def failed(server: ServerProcess | None, *arguments: str, stdin: str = "", **more: Any) -> str:
    """Why the command fails: one line."""
    result = run(server, *arguments, stdin=stdin, **more)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("ot-jupyter: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def sources(server: ServerProcess, path: str) -> list[str]:
    notebook = json.loads(done(server, "cat", path, "--json"))
    return [cell["source"] for cell in notebook["cells"]]


# Help and usage.


@pytest.mark.parametrize("command", ["", "cat", "patch", "edit", "log", "status"])
def test_help_teaches_with_examples(command: str) -> None:
    text = done(None, *command.split(), "--help")
    assert "examples:" in text
    assert f"  ot-jupyter {command}".rstrip() in text or "| ot-jupyter patch" in text


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["cat"], ["edit", "a.ipynb"], ["log", "a", "--since", "x"]]
)
def test_wrong_usage_is_2(arguments: Sequence[str]) -> None:
    result = run(None, *arguments)
    assert result.returncode == 2
    assert "usage:" in result.stderr


# cat


def test_cat(server: ServerProcess, path: str) -> None:
    assert done(server, "cat", path).split("\n") == [
        "── 0  code  c0 ──",
        "alpha = 1",
        "print(alpha)",
        "",
        "── 1  markdown  c1 ──",
        "# Title",
        "",
        "",
    ]
    notebook = json.loads(done(server, "cat", path, "--json"))
    nbformat.validate(notebook)
    assert notebook["cells"][0]["id"] == "c0"


def test_cat_of_a_text_file(server: ServerProcess) -> None:
    (server.root / "a b.md").write_text("één\n")
    assert done(server, "cat", "a b.md") == "één\n"
    assert done(server, "cat", "a b.md", "--json") == "één\n"


def test_cat_shows_what_is_not_saved_yet(server: ServerProcess, path: str) -> None:
    with connect(server.url, server.token) as connection:
        document = connection.open(path)
        document.cells[0].set_source("typed just now")
        document.wait()
        assert "typed just now" in done(server, "cat", path)


def test_cat_shows_what_a_terminal_would_obey(server: ServerProcess, path: str) -> None:
    done(server, "edit", path, "--cell", "c0", "--source", "a\x1b[2Jb")
    assert "a\\x1b[2Jb" in done(server, "cat", path)
    assert sources(server, path)[0] == "a\x1b[2Jb"


# patch


def test_patch_from_stdin_and_file(server: ServerProcess, path: str, tmp_path: Path) -> None:
    patch = [{"op": "replace", "path": "/cells/0/source", "value": "beta"}]
    state = done(server, "patch", path, stdin=json.dumps(patch)).strip()
    assert state.startswith("1-")
    file = tmp_path / "change.json"
    file.write_text(json.dumps([{"op": "remove", "path": "/cells/1"}]))
    after = done(server, "patch", path, str(file), "--if-match", state).strip()
    assert after.startswith("2-")
    assert sources(server, path) == ["beta"]
    assert "moved" in failed(server, "patch", path, str(file), "--if-match", state)
    # Made for the state before: the cell is gone, and so is what was to be done.
    assert done(server, "patch", path, str(file), "--base", state).startswith("3-")


def test_patch_with_a_key_is_made_once(server: ServerProcess, path: str) -> None:
    patch = json.dumps(
        [{"op": "add", "path": "/cells/-", "value": {"cell_type": "code", "source": "x"}}]
    )
    first = done(server, "patch", path, "--key", "k1", stdin=patch)
    assert done(server, "patch", path, "--key", "k1", stdin=patch) == first
    assert len(sources(server, path)) == 3
    assert "key_reused" in failed(server, "patch", path, "--key", "k1", stdin="[]")


def test_patch_tells_what_is_wrong(server: ServerProcess, path: str) -> None:
    assert "not_json" in failed(server, "patch", path, stdin="[")
    wrong = json.dumps([{"op": "test", "path": "/cells/0/source", "value": "no"}])
    assert "test_failed" in failed(server, "patch", path, stdin=wrong)
    wrong = json.dumps([{"op": "remove", "path": "/cells/7"}])
    assert "(at /0/path)" in failed(server, "patch", path, stdin=wrong)
    assert "No such file" in failed(server, "patch", path, "/nowhere/at/all")


# edit


def test_edit(server: ServerProcess, path: str) -> None:
    state = done(server, "edit", path, "--cell", "c0", "--replace", "alpha = 1", "alpha = 2")
    assert state.startswith("1-")
    done(server, "edit", path, "--cell", "-1", "--append", "\n\ntext")
    done(server, "edit", path, "--cell", "1", "--append", "-", stdin="!")
    assert sources(server, path) == ["alpha = 2\nprint(alpha)", "# Title\n\ntext!"]
    done(server, "edit", path, "--cell", "0", "--source", "-", stdin="new\n")
    assert sources(server, path)[0] == "new\n"


def test_edit_of_a_text_file(server: ServerProcess) -> None:
    (server.root / "notes.md").write_text("one\n")
    done(server, "edit", "notes.md", "--append", "two\n")
    assert done(server, "cat", "notes.md") == "one\ntwo\n"
    assert "no cells" in failed(server, "edit", "notes.md", "--cell", "0", "--append", "x")


def test_edit_tells_what_is_wrong(server: ServerProcess, path: str) -> None:
    edit = ("edit", path, "--cell")
    assert "there are 2" in failed(server, *edit, "2", "--append", "x")
    assert "no cell 'x'" in failed(server, *edit, "x", "--append", "x")
    assert "is not in cell c0" in failed(server, *edit, "0", "--replace", "beta", "x")
    assert "is 2 times in cell c0" in failed(server, *edit, "0", "--replace", "alpha", "x")
    assert "is not in cell c0" in failed(server, *edit, "0", "--replace", "", "x")
    assert "tell --cell" in failed(server, "edit", path, "--append", "x")
    assert "not_found" in failed(server, "edit", "nothing.ipynb", "--cell", "0", "--append", "x")
    assert "bad_text" in failed(
        server, *edit, "0", "--append", b"\xff".decode(errors="surrogateescape")
    )
    assert len(sources(server, path)) == 2


def editor(tmp_path: Path, script: str) -> str:
    """An editor that is a script: ``text`` is what it may change, ``file`` its path."""
    program = tmp_path / "an editor.py"
    program.write_text(
        "import pathlib, sys\n"
        "file = pathlib.Path(sys.argv[-1])\n"
        "text = file.read_text()\n"
        f"{script}\n"
        "file.write_text(text)\n"
    )
    return f"{sys.executable} '{program}' --wait"


def test_edit_in_an_editor_keeps_what_others_type_meanwhile(
    server: ServerProcess, path: str, tmp_path: Path
) -> None:
    others = (
        "import subprocess\n"
        f"subprocess.run([{COMMAND!r}, 'edit', {path!r}, '--cell', 'c0', '--append', ' # others'],"
        " check=True, stdout=subprocess.DEVNULL)\n"
        "assert file.suffix == '.py'\n"
        "text = text.replace('alpha', 'beta') + '\\n'"
    )
    env = environment(server, EDITOR=editor(tmp_path, others), TMPDIR=str(tmp_path))
    done(server, "edit", path, "--cell", "c0", "--editor", env=env)
    assert sources(server, path)[0] == "beta = 1\nprint(beta) # others"
    assert [file.name for file in tmp_path.iterdir()] == ["an editor.py"]


def test_edit_in_an_editor_that_fails_changes_nothing(
    server: ServerProcess, path: str, tmp_path: Path
) -> None:
    env = environment(server, VISUAL=editor(tmp_path, "sys.exit(3)"), TMPDIR=str(tmp_path))
    assert "ended with 3" in failed(server, "edit", path, "--cell", "1", "--editor", env=env)
    env = environment(server, VISUAL="/nowhere/ed", TMPDIR=str(tmp_path))
    assert "/nowhere/ed" in failed(server, "edit", path, "--cell", "1", "--editor", env=env)
    assert sources(server, path)[1] == "# Title"


def test_edit_in_an_editor_loses_no_text(server: ServerProcess, path: str, tmp_path: Path) -> None:
    """The cell is removed while its text is in the editor."""
    removal = json.dumps([{"op": "remove", "path": "/cells/@c1"}])
    script = (
        "import subprocess\n"
        f"subprocess.run([{COMMAND!r}, 'patch', {path!r}], input={removal!r}, text=True,"
        " check=True, stdout=subprocess.DEVNULL)\n"
        "text += 'precious'"
    )
    env = environment(server, EDITOR=editor(tmp_path, script), TMPDIR=str(tmp_path))
    message = failed(server, "edit", path, "--cell", "c1", "--editor", env=env)
    assert "was removed meanwhile; your text is in" in message
    (file,) = tmp_path.glob("*.md")
    assert file.read_text() == "# Titleprecious"
    assert str(file) in message


# log


def test_log(server: ServerProcess, path: str) -> None:
    done(server, "edit", path, "--cell", "c0", "--append", "!")
    done(server, "patch", path, stdin=json.dumps([{"op": "remove", "path": "/cells/1"}]))
    lines = done(server, "log", path).splitlines()
    assert [line.split("  ")[-1].strip() for line in lines] == [
        "typed '!' in cell c0",
        "removed cell c1",
    ]
    assert done(server, "log", path, "--since", "1").splitlines() == lines[1:]
    assert "unknown_revision" in failed(server, "log", path, "--since", "99")
    assert "not_found" in failed(server, "log", "nothing.ipynb")


class Following:
    """``ot-jupyter log --follow``, in the background."""

    def __init__(self, server: ServerProcess, path: str) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "log", path, "--follow"],
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            # A shell that runs the tests in the background has them ignore Ctrl+C.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, how: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def test_log_follows_until_ctrl_c(server: ServerProcess, path: str) -> None:
    done(server, "edit", path, "--cell", "c0", "--append", "1")
    following = Following(server, path)
    assert "typed '1'" in following.line()
    done(server, "edit", path, "--cell", "c0", "--append", "2")
    assert "typed '2'" in following.line()
    assert following.end(signal.SIGINT) == (130, "")


def test_log_follows_beyond_the_servers_end(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("")
    with ServerProcess(tmp_path) as server:
        done(server, "edit", "a.md", "--append", "1")
        following = Following(server, "a.md")
        assert "typed '1'" in following.line()
        server.kill()
        server.start()
        done(server, "edit", "a.md", "--append", "2")
        assert "typed '2'" in following.line()
        server.kill()
        for file in tmp_path.glob(".jupyter_ot.db*"):
            file.unlink()
        server.start()
        done(server, "edit", "a.md", "--append", "3")
        assert "typed '3'" in following.line()
        assert following.end(signal.SIGINT) == (130, "")


def test_a_broken_pipe_is_quiet(server: ServerProcess, path: str) -> None:
    done(server, "edit", path, "--cell", "c0", "--source", "-", stdin="x\n" * 100_000)
    command = f"'{COMMAND}' cat {path} | head -1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", command], env=environment(server), capture_output=True, encoding="utf-8"
    )
    assert result.stdout == "── 0  code  c0 ──\n141\n"
    assert result.stderr == ""


# status, and finding the server


def test_status(server: ServerProcess, path: str) -> None:
    with connect(server.url, server.token) as connection:
        connection.open(path)
        lines = done(server, "status").splitlines()
        assert lines[0] == f"{server.url}/  store: sqlite, ok"
        assert f"{path}  notebook at 0, 1 client" in lines


def test_finds_the_server_that_runs(server: ServerProcess, path: str) -> None:
    """As a user who has started one and tells nothing."""
    assert server._own is not None
    env = environment(None, JUPYTER_RUNTIME_DIR=str(server._own / "runtime"))
    assert "# Title" in done(None, "cat", path, env=env)
    env = environment(None, JUPYTER_RUNTIME_DIR=str(server.root))
    assert "no Jupyter server runs here" in failed(None, "cat", path, env=env)


def test_of_several_servers_the_one_of_this_folder(
    server: ServerProcess, path: str, tmp_path: Path
) -> None:
    assert server._own is not None
    (info,) = (server._own / "runtime").glob("jpserver-*.json")
    mine = json.loads(info.read_text())
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    other = {**mine, "root_dir": str(tmp_path / "other"), "url": "http://127.0.0.1:1/"}
    (runtime / "jpserver-1.json").write_text(json.dumps(mine))
    (runtime / "jpserver-2.json").write_text(json.dumps(other))
    env = environment(None, JUPYTER_RUNTIME_DIR=str(runtime))
    assert "# Title" in done(None, "cat", path, env=env, cwd=server.root)
    message = failed(None, "cat", path, env=env, cwd=tmp_path)
    assert "several servers" in message
    assert mine["url"] in message


def test_tells_why_there_is_no_answer(server: ServerProcess, path: str) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/"
    for command in (["cat", path], ["edit", path, "--cell", "0", "--append", "x"], ["status"]):
        assert "no server answers" in failed(server, *command, "--url", nobody)
        assert "token" in failed(server, *command, "--token", "wrong")
        elsewhere = ("--url", f"{server.url}/elsewhere/")
        assert "does not have ot-jupyter" in failed(server, *command, *elsewhere)
    assert "looks like" in failed(server, "cat", path, "--url", "nonsense")
    with_token = f"{server.url}/lab?token={server.token}"
    assert "# Title" in done(None, "cat", path, "--url", with_token)


# Words.


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ({"op": "edit", "path": "/cells/a/source", "delta": [3, "x\ny", -2, 1, "z"]},
         r"typed 'x\nyz' and deleted 2 characters in cell a"),
        ({"op": "edit", "path": "/cells/a/source", "delta": [-1]},
         "deleted 1 character in cell a"),
        ({"op": "edit", "path": "/source", "delta": ["é" * 99]}, f"typed '{'é' * 59}…'"),
        ({"op": "edit", "path": "/cells/a/outputs", "delta": [-2]}, "cleared 2 outputs of cell a"),
        ({"op": "edit", "path": "/cells/a/outputs", "delta": [1, [{}], -2]},
         "cell a put out 1 item"),
        ({"op": "edit", "path": "/cells/a/outputs", "delta": [1, {"text": [3, "xyz", -2]}]},
         "cell a put out 3 characters"),
        ({"op": "edit", "path": "/cells/a/outputs", "delta": [{"text": [3, -2]}]},
         "cell a took back 2 characters"),
        ({"op": "add", "path": "/cells/a", "index": 3, "value": {"source": "x"}},
         "inserted cell a at 3: 'x'"),
        ({"op": "add", "path": "/cells/a", "index": 3, "value": {"source": ""}},
         "inserted cell a at 3"),
        ({"op": "remove", "path": "/cells/a", "index": 3}, "removed cell a"),
        ({"op": "move", "path": "/cells/a", "index": 3, "to": 0}, "moved cell a to 0"),
        ({"op": "run", "path": "/cells/a"}, "asked to run cell a"),
        ({"op": "replace", "path": "/cells/a/cell_type", "value": "raw"}, "made cell a raw"),
        ({"op": "replace", "path": "/cells/a/execution_count", "value": 4}, "cell a is run 4"),
        ({"op": "replace", "path": "/cells/a/execution_count", "value": None},
         "cleared the count of cell a"),
        ({"op": "replace", "path": "/cells/a/execution", "value": {"state": "running"}},
         "cell a is running"),
        ({"op": "replace", "path": "/cells/a/execution",
          "value": {"state": "running", "next": [{}]}}, "cell a is running, 1 run of it to come"),
        ({"op": "replace", "path": "/cells/a/execution",
          "value": {"state": "lost", "reason": "the kernel died"}},
         "cell a is lost: the kernel died"),
        ({"op": "replace", "path": "/cells/a/execution/input",
          "value": {"id": "1", "prompt": "Who? ", "password": False}}, "cell a asks 'Who? '"),
        ({"op": "remove", "path": "/cells/a/execution/input"}, "what cell a asked was answered"),
        ({"op": "replace", "path": "/kernel/request", "value": {"id": "1", "action": "restart"}},
         "restarted the kernel"),
        ({"op": "replace", "path": "/kernel/request",
          "value": {"id": "1", "action": "change", "spec": "bash"}}, "changed the kernel to bash"),
        ({"op": "replace", "path": "/kernel/done", "value": {"request": "1"}},
         "did what was asked of the kernel"),
        ({"op": "replace", "path": "/kernel/done",
          "value": {"request": "1", "error": "there is no kernel"}},
         "could not do it: there is no kernel"),
        ({"op": "replace", "path": "/kernel", "value": {"state": "ready", "name": "python3"}},
         "the kernel is ready (python3)"),
        ({"op": "replace", "path": "/kernel", "value": {"state": "none", "reason": "it died"}},
         "there is no kernel: it died"),
        ({"op": "replace", "path": "/cells/a/execution", "value": {}},
         "set execution of cell a"),
        ({"op": "replace", "path": "/cells/a/metadata/tags", "value": []},
         "set metadata tags of cell a"),
        ({"op": "remove", "path": "/metadata/kernelspec"}, "removed metadata kernelspec"),
        ({"op": "replace", "path": "/metadata", "value": {}}, "set metadata"),
    ],
)  # fmt: skip
def test_every_operation_has_words(operation: dict[str, Any], words: str) -> None:
    assert describe([operation]) == words


def test_long_and_empty_changes_have_words() -> None:
    run_it = {"op": "run", "path": "/cells/a"}
    assert describe([run_it] * 6).endswith("asked to run cell a, and 2 more")
    assert "nothing" in describe([])
    entry = {"rev": 7, "client": "file:x", "user": "", "time": "soon", "ops": [run_it]}
    assert describe_entry(entry) == "soon      7  file  asked to run cell a"
    assert plain("a\tb\n\x1b\u202e") == "a\tb\n\\x1b\\u202e"
