"""A notebook that is executed here is the one that nbclient makes of the same file."""

# ruff: noqa: E501 - cells have long lines

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from ot_jupyter.kernel.terminal import Terminal
from tests.running import Lab, a_lab

pytestmark = pytest.mark.timeout(180)

# What differs from one run to the next: memory addresses, ids, times, temporary files.
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+"), "date…"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x…"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "id…"),
    (re.compile(r"ipykernel_\d+/\d+\.py"), "cell.py"),
    (re.compile(r"\d+(\.\d+)? (ns|[µμm]?s)\b"), "time…"),
    (re.compile(r"\d+:\d\d(<\d+:\d\d)?, +[\d.]+it/s|[\d.]+it/s|\d\d:\d\d<\d\d:\d\d"), "speed…"),
)
IMAGES = ("image/png", "image/jpeg")

NUMERICS = [
    "import numpy as np\nrng = np.random.default_rng(1)\na = rng.normal(size=(50, 4))\na[:5].round(3)",
    "a.mean(axis=0).shape, a.dtype",
    "np.set_printoptions(precision=3, suppress=True)\nprint(np.linalg.svd(a)[1])",
    "for n in (10, 100, 1000):\n    print(f'{n:5d} {sum(1 / k for k in range(1, n)):.6f}')",
    "np.float64(1) / 0",
    "x = np.linspace(0, 1, 5)\nx",
]
TABLES = [
    "import pandas as pd\nframe = pd.DataFrame({'city': ['Bern', 'Oslo', 'Łódź'], 'n': [3, 1, 2]})\nframe",
    "frame.describe()",
    "frame.sort_values('n').style.set_uuid('s').highlight_max(subset=['n'])",
    "frame.groupby('city').n.sum()",
    "pd.DataFrame({i: range(200) for i in range(40)})",
    "frame.n.value_counts(); frame.dtypes",
    "frame['nothing']",
]
FIGURES = [
    "%matplotlib inline\nimport matplotlib.pyplot as plt\nimport matplotlib\n"
    "matplotlib.rcParams['svg.hashsalt'] = 'x'",
    "plt.plot([1, 2, 4]);",
    "fig, axes = plt.subplots(1, 2)\naxes[0].bar('abc', [1, 2, 3])\nprint(len(axes))\nplt.show()\nfig",
    "%config InlineBackend.figure_formats = ['svg']\nplt.scatter([1, 2], [2, 1])\nplt.title('ä')",
]
ERRORS = [
    {"source": "1 / 0", "metadata": {"tags": ["raises-exception"]}},
    {"source": "def f(n): return f(n - 1) if n else {}['x']\nf(3)",
     "metadata": {"tags": ["raises-exception"]}},
    {"source": "for", "metadata": {"tags": ["raises-exception"]}},
    "import sys\nprint('to stderr', file=sys.stderr)",
    "import warnings\nwarnings.warn('careful')",
    {"source": "print('before', flush=True)\nraise ValueError('several\\nlines')",
     "metadata": {"tags": ["raises-exception"]}},
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    print(e)",
    "%xmode Plain",
    {"source": "undefined", "metadata": {"tags": ["raises-exception"]}},
    {"source": "raise SystemExit(3)", "metadata": {"tags": ["raises-exception"]}},
    "1",
]  # fmt: skip
DISPLAYS = [
    "from IPython.display import HTML, JSON, Latex, Markdown, SVG, clear_output, display",
    "display(HTML('<b>bold</b>'), Markdown('# Title'), Latex('$x^2$'))\nJSON({'a': [1, None, 2.5]})",
    "handle = display('first', display_id='it')\nfor i in range(5): handle.update(i)",
    "display('another', display_id='it')\nprint('between')",
    "handle.update(HTML('<i>last</i>'))",
    "for i in range(4):\n    clear_output(wait=True)\n    print('frame', i)\n    display(i)",
    "print('gone')\nclear_output()\nprint('stays')",
    "print('gone'); clear_output(wait=True)",
    'SVG(\'<svg xmlns="http://www.w3.org/2000/svg" width="5" height="5"><circle r="2"/></svg>\')',
    "display({'text/plain': 'x', 'application/x-custom': 'y'}, raw=True, metadata={'m': {'n': 1}})",
    "class Both:\n    def _repr_html_(self): return '<p>'\n    def __repr__(self): return 'both'\nBoth()",
    "1; 2\n3",
    "None",
    "_, __, Out[1] if 1 in Out else 'none'",
]
TERMINALS = [
    "import sys, time\nfor i in range(30):\n    print(f'\\r{i:3d} %', end='', flush=True)",
    "print('\\x1b[31mred\\x1b[0m \\x1b[1;38;5;208mbold\\x1b[0m')",
    "print('abc\\b\\bX')\nprint('long line\\rshort')\nprint('one\\r\\ntwo')",
    "from tqdm import tqdm\nfor _ in tqdm(range(50)): pass",
    "for i in range(3):\n    print('out', i, flush=True)\n    print('err', i, file=sys.stderr, flush=True)",
    "print('no end', end='')",
    "print('é 🎉 \\u202e \\x00 tab\\t.')",
    "import subprocess\n!echo from the shell && echo bad >&2",
    "sys.stdout.write('counted\\n')",
]
MAGICS = [
    "%%time\ntotal = sum(range(1000))",
    "%%capture caught\nprint('caught')\n'and this'",
    "caught.stdout, len(caught.outputs)",
    "caught.show()",
    "from pathlib import Path\nPath('it.py').unlink(missing_ok=True)",
    "%%writefile it.py\nvalue = 42",
    "%run it.py\nvalue",
    "%load it.py",
    "%who_ls int",
    "%%bash\necho bash; exit 0",
    "%%html\n<h1>x</h1>",
    "%precision 3\n3.14159265",
    "%env NOTHING=1",
    "files = !ls it.py\nfiles",
    "%%javascript\nconsole.log(1)",
]
WIDGETS = [
    "import ipywidgets as widgets\nslider = widgets.IntSlider(value=4)\nslider",
    "widgets.VBox([slider, widgets.Text('é')])",
    "widgets.Button(description='Press')",
    "slider.value = 9\nslider.value",
    "bar = widgets.IntProgress(max=3)\ndisplay(bar)\nfor i in range(4): bar.value = i",
]
LONG = [
    "for i in range(5000): print(i, 'line of a long output')",
    "'x' * 100_000",
    "list(range(2000))",
    "print('y' * 200_000)",
    {"source": "# only a comment"},
    "",
    "   \n",
    {"cell_type": "markdown", "source": "# Ünïcödé 🎉"},
    {"cell_type": "raw", "source": "raw"},
    "名前 = '世界'\nprint('こんにちは', 名前)\n名前",
    "'\\u200b', '👩‍👩‍👧', '\\U0010ffff'",
    "raise KeyError('it ends here')",
    "print('never reached')",
]
NOTEBOOKS = {
    "numerics": NUMERICS, "tables": TABLES, "figures": FIGURES, "errors": ERRORS,
    "displays": DISPLAYS, "terminals": TERMINALS, "magics": MAGICS, "widgets": WIDGETS,
    "long": LONG,
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("nbclient")) as one:
        yield one


def executed(file: Path) -> Any:
    """What nbclient makes of a file; after a failure the rest is as it was."""
    notebook = nbformat.read(file, as_version=4)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": file.parent}})
    with contextlib.suppress(CellExecutionError):  # that, too, is compared
        client.execute()
    return notebook


def reduced(text: str) -> str:
    """A stream as it is shown."""
    terminal = Terminal()
    terminal.write(text)
    terminal.finish()
    return terminal.take()


def steady(value: Any) -> Any:
    """The value without what no two runs have in common."""
    if isinstance(value, str):
        for pattern, instead in VARYING:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, list):
        return [steady(one) for one in value]
    if isinstance(value, dict):
        return {key: "an image" if key in IMAGES else steady(one) for key, one in value.items()}
    return value


def comparable(outputs: list[Any]) -> list[Any]:
    """Outputs as they are compared: neighbouring streams of one name are one, as nbformat has it,
    and in it stands what a terminal shows."""
    result: list[Any] = []
    for output in json.loads(json.dumps(outputs)):
        if output["output_type"] == "stream":
            output["text"] = "".join(output["text"])
            last = result[-1] if result else {}
            if (last.get("output_type"), last.get("name")) == ("stream", output["name"]):
                last["text"] += output["text"]
                continue
        result.append(output)
    for output in result:
        if output["output_type"] == "stream":
            output["text"] = reduced(output["text"])
    return [steady(one) for one in result]


def differences(theirs: Any, ours: Any) -> list[str]:
    """Where two executed notebooks differ, cell by cell."""
    found = []
    for index, (their, our) in enumerate(zip(theirs.cells, ours.cells, strict=True)):
        if their.cell_type != "code":
            continue
        if their.execution_count != our.execution_count:
            found.append(f"{index}: {their.execution_count=} {our.execution_count=}")
        before, after = comparable(their.outputs), comparable(our.outputs)
        if before != after:
            found.append(f"{index}: {their.source!r}\n  nbclient {before}\n  here     {after}")
    return found


async def compare(lab: Lab, path: str) -> list[str]:
    """Execute a notebook both ways, one after the other, and tell where the results differ."""
    file = lab.server.root / path
    theirs = await asyncio.to_thread(partial(executed, file))
    await lab.run(path)
    await lab.saved(path)
    ours = nbformat.read(file, as_version=4)
    nbformat.validate(ours)
    await lab.control(path, "shutdown")
    return differences(theirs, ours)


@pytest.mark.parametrize("name", NOTEBOOKS)
async def test_outputs_are_those_of_nbclient(lab: Lab, name: str) -> None:
    found = await compare(lab, lab.write(*NOTEBOOKS[name], name=f"{name}.ipynb"))
    assert found == [], "\n".join(found)
