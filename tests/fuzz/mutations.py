"""Rules of the algebra, broken one at a time.

A mutation is a piece of a module's source and what stands there instead. Each must be caught by
the table, the exhaustive tests in a small scope, or a few hundred random cases: a rule that can be
broken without anyone noticing is a rule without a test. Mutations that change nothing (a shortcut
left out, a copy too many) are not in the list.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ot_jupyter import transforms

FOLDER = Path(transforms.__path__[0])


class Mutation(NamedTuple):
    rule: str
    module: str
    old: str
    new: str

    def source(self) -> str:
        """The module with the rule broken. The list must stay in step with the code."""
        source = (FOLDER / f"{self.module}.py").read_text(encoding="utf-8")
        assert source.count(self.old) == 1, f"{self.rule}: {source.count(self.old)} places"
        return source.replace(self.old, self.new)


class _Copy(MetaPathFinder, InspectLoader):
    """Imports the package once more under another name, one module with other source."""

    def __init__(self, name: str, module: str, source: str) -> None:
        self.name = name
        self.module = module
        self.source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name and not fullname.startswith(self.name + "."):
            return None
        return spec_from_loader(fullname, self, is_package=fullname == self.name)

    def get_source(self, fullname: str) -> str:
        module = fullname.removeprefix(self.name).removeprefix(".") or "__init__"
        if module == self.module:
            return self.source
        return (FOLDER / f"{module}.py").read_text(encoding="utf-8")


@contextmanager
def broken(mutation: Mutation) -> Iterator[ModuleType]:
    """The algebra with that rule broken, beside the true one, which stays as it is."""
    name = "broken_transforms"
    finder = _Copy(name, mutation.module, mutation.source())
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
        for module in [module for module in sys.modules if module.split(".")[0] == name]:
            del sys.modules[module]


MUTATIONS = [
    # Deltas.
    Mutation("in an insert tie the later goes left", "delta", "if not later and", "if later and"),
    Mutation("the earlier goes right", "delta", "if not later and", "if False and"),
    Mutation("the later does not go right", "delta", "if not later and", "if True and"),
    Mutation(
        "an insert of the other is stepped over whole",
        "delta",
        """                _push(result, len(other))
                other = next(parts, None)
            _push(result, part)""",
        """                _push(result, 1)
                other = next(parts, None)
            _push(result, part)""",
    ),
    Mutation(
        "what is deleted by both is deleted once",
        "delta",
        "            if other > 0:\n                _push(result, step",
        "            if other:\n                _push(result, step",
    ),
    Mutation("an insert stands before a delete", "delta", "delta.insert(-1, part)",
             "delta.append(part)"),
    Mutation(
        "an insert joins the one before the delete",
        "delta",
        "elif len(delta) > 1 and type(delta[-2]) is not int and type(delta[-2]) is not dict:",
        "elif False:",
    ),
    Mutation("inserts are joined", "delta", "delta[-1] = last + part\n    elif last",
             "delta.append(part)\n    elif last"),
    Mutation("retains and deletes are joined", "delta", "(part > 0) == (last > 0)", "False"),
    Mutation("a retain is not joined to a delete", "delta", "(part > 0) == (last > 0)", "True"),
    Mutation("no retain at the end", "delta", "        delta.pop()\n", "        pass\n"),
    Mutation("an edit stays within the text", "delta", "if at > len(sequence):", "if False:"),
    Mutation(
        "compose: what was deleted stays deleted",
        "delta",
        "                _push(result, -reader.left())\n",
        "",
    ),
    Mutation(
        "compose: what is left of an insert",
        "delta",
        "_push(result, other[start : start + step])",
        "_push(result, other[:step])",
    ),
    Mutation(
        "compose: the rest of the first",
        "delta",
        "_push(result, other[reader.offset :])",
        "_push(result, other)",
    ),
    Mutation(
        "compose: an insert that is deleted again",
        "delta",
        "            elif part > 0:\n                start",
        "            else:\n                start",
    ),
    Mutation("invert: an insert is deleted whole", "delta", "_push(result, -len(part))",
             "_push(result, -1)"),
    Mutation(
        "invert: a delete stands for old elements",
        "delta",
        "            at -= part\n    return _trim(result)",
        "    return _trim(result)",
    ),
    Mutation("a caret stays left of an insert", "delta", "if at >= offset:", "if at > offset:"),
    Mutation(
        "a caret is not drawn beyond a delete",
        "delta",
        "result -= min(-part, offset - at)",
        "result -= -part",
    ),
    Mutation("check: a bool is no number", "delta",
             "if type(part) is int:\n            if part == 0",
             "if isinstance(part, int):\n            if part == 0"),
    Mutation("check: no 0", "delta", "if part == 0:", "if False:"),
    Mutation("check: no empty insert", "delta", "if not part:\n                raise",
             "if False:\n                raise"),
    Mutation("check: no adjacent like parts", "delta", 'if kind == before and kind != "edit":',
             "if False:"),
    Mutation("check: insert before delete", "delta",
             'if kind == "insert" and before == "delete":', "if False:"),
    Mutation("check: no retain at the end", "delta", 'if before == "retain":', "if False:"),
    Mutation("check: an edit has an effect", "delta", "if not delta:\n        raise",
             "if False:\n        raise"),
    # Items whose texts are edited.
    Mutation("items: an edit without effect is a retain", "delta",
             '{"text": text} if text else 1', '{"text": text}'),
    Mutation("items: edits stand alone", "delta",
             "if type(last) is dict:\n            delta.append(part)",
             "if False:\n            delta.append(part)"),
    Mutation("items: an insert before a delete joins no edit", "delta",
             "type(delta[-2]) is not int and type(delta[-2]) is not dict",
             "type(delta[-2]) is not int"),
    Mutation("items: canonical within", "delta", 'canonical(part["text"])', 'part["text"]'),
    Mutation("items: only in lists", "delta", "type(part) is dict and insert is list",
             "type(part) is dict"),
    Mutation("items: only the text", "delta", 'if part.keys() != {"text"}:',
             'if "text" not in part:'),
    Mutation("items: the delta of the text is checked", "delta",
             'check_delta(part["text"], str)', "pass"),
    Mutation("items: where a refusal is", "delta",
             'raise refused.within(where + "/text") from None', "raise"),
    Mutation("items: edits may stand side by side", "delta", ' and kind != "edit"', ""),
    Mutation("items: there is a text", "delta",
             'if type(item) is not dict or type(item.get("text")) is not str:', "if False:"),
    Mutation("items: are not written into", "delta",
             "[{**item, \"text\": apply_delta(item[\"text\"], edit[\"text\"])} for item in items]",
             "[item.update(text=apply_delta(item[\"text\"], edit[\"text\"])) or item "
             "for item in items]"),
    Mutation("items: where an edit does not fit", "delta", 'within(f"/{index}/text")',
             'within("/text")'),
    Mutation("items: an insert of the other comes first", "delta",
             "while type(other) is list:", "while False:"),
    Mutation("items: two edits meet", "delta",
             'transform_delta(edit["text"], other["text"], later)', 'edit["text"]'),
    Mutation("items: two edits know which is later", "delta",
             'transform_delta(edit["text"], other["text"], later)',
             'transform_delta(edit["text"], other["text"], True)'),
    Mutation("items: a removal wins", "delta",
             "if other > 0:\n        _push(result, edit)", "if True:\n        _push(result, edit)"),
    Mutation("items: to a delete an edit is a retain", "delta", "other = 1\n", "other = -1\n"),
    Mutation("compose items: what was deleted stays deleted", "delta",
             "other < 0:\n        _push(result, -reader.left())",
             "other < 0:\n        _push(result, 1)"),
    Mutation("compose items: edit after edit", "delta",
             'compose_delta(other["text"], text)', "text"),
    Mutation("compose items: an edit of the right new item", "delta",
             "item = other[reader.offset]", "item = other[0]"),
    Mutation("compose items: an edited item that is deleted", "delta",
             "_push(result, other if part > 0 else -1)", "_push(result, other)"),
    Mutation("compose items: what is kept stays edited", "delta",
             "_push(result, other if part > 0 else -1)", "_push(result, 1 if part > 0 else -1)"),
    Mutation("invert items: the old text", "delta",
             'invert_delta(old["text"], part["text"])', 'invert_delta("", part["text"])'),
    Mutation("position: an edited item is one", "delta",
             "        if type(part) is dict:\n            at += 1\n"
             "        elif not isinstance(part, int):\n            result",
             "        if not isinstance(part, int):\n            result"),
    Mutation("check: items are objects", "check", "if type(part) is list and any(",
             "if False and any("),
    # Registers.
    Mutation("one key: the later write wins", "transform", "return [a] if later else []",
             "return [] if later else [a]"),
    Mutation("one key: the earlier write is dropped", "transform", "return [a] if later else []",
             "return [a]"),
    Mutation(
        "one key: two removals are one",
        "transform",
        """        if a["op"] == "remove" and b["op"] == "remove":
            return []
""",
        "",
    ),
    Mutation(
        "a write inside what was replaced goes on where it has a place",
        "transform",
        'return [a] if _has_place(b["value"], where_a[len(where_b) :], a) else []',
        "return []",
    ),
    Mutation(
        "a write inside what was replaced ends where it has none",
        "transform",
        'return [a] if _has_place(b["value"], where_a[len(where_b) :], a) else []',
        "return [a]",
    ),
    Mutation(
        "a replace takes up what was later written inside",
        "transform",
        'if not later and a["op"] == "replace":',
        "if False:",
    ),
    Mutation(
        "a later replace does not take up what was written inside",
        "transform",
        'if not later and a["op"] == "replace":',
        'if a["op"] == "replace":',
    ),
    Mutation(
        "an earlier write inside what is replaced ends",
        "transform",
        'if later and b["op"] == "replace":',
        'if b["op"] == "replace":',
    ),
    Mutation(
        "a removal inside needs its key",
        "transform",
        '(operation["op"] != "remove" or where[-1] in value)',
        "True",
    ),
    Mutation(
        "paths are compared as segments",
        "transform",
        "if where_a[: len(where_b)] == where_b:  # a",
        'if a["path"].startswith(b["path"]):  # a',
    ),
    Mutation(
        "the value of an operation is not written into",
        "transform",
        "        value[key] = dict(value[key])\n",
        "",
    ),
    Mutation("nor its outermost object", "transform", 'root = dict(a["value"])',
             'root = a["value"]'),
    # Cells.
    Mutation(
        "a removed cell takes what is inside with it",
        "transform",
        'return [] if inside and b["op"] == "remove" else [a]',
        "return [a]",
    ),
    Mutation(
        "a moved cell does not",
        "transform",
        'return [] if inside and b["op"] == "remove" else [a]',
        "return [] if inside else [a]",
    ),
    Mutation(
        "a foreign edit gets into the inverse of a removal",
        "transform",
        'if a["op"] == "add" and where_b[:2] == where_a:',
        "if False:",
    ),
    Mutation(
        "a foreign move moves the inverse of a removal",
        "transform",
        'if verbs in (("remove", "move"), ("add", "move")):',
        'if verbs == ("remove", "move"):',
    ),
    Mutation(
        "a removal follows a move",
        "transform",
        'if verbs in (("remove", "move"), ("add", "move")):',
        'if verbs == ("add", "move"):',
    ),
    Mutation("two adds of an id: the later ends", "transform",
             "        if later:\n            return []\n", ""),
    Mutation(
        "two adds of an id: the earlier cell stands",
        "transform",
        'return [{"op": "remove", "path": a["path"], "index": b["index"]}, a]',
        "return []",
    ),
    Mutation(
        "two adds of an id: the other's is removed where it is",
        "transform",
        '"path": a["path"], "index": b["index"]}, a]',
        '"path": a["path"], "index": a["index"]}, a]',
    ),
    Mutation("two moves of a cell: the later", "transform",
             'if verbs == ("move", "move") and later:',
             'if verbs == ("move", "move") and not later:'),
    Mutation("two moves of a cell: one", "transform",
             'if verbs == ("move", "move") and later:', 'if verbs == ("move", "move"):'),
    Mutation(
        "two moves of a cell: from its new index",
        "transform",
        'else [{**a, "index": b["to"]}]',
        "else [a]",
    ),
    Mutation(
        "two moves of a cell to one place",
        "transform",
        'return [] if a["to"] == b["to"] else',
        "return [] if False else",
    ),
    Mutation(
        "a move to its own place is none",
        "transform",
        'if a["op"] == "move" and result["to"] == result["index"]:',
        "if False:",
    ),
    Mutation(
        "one gap: the later above",
        "transform",
        "(gap_b == gap_a and not later)",
        "(gap_b == gap_a and later)",
    ),
    Mutation("one gap: not both above", "transform", "(gap_b == gap_a and not later)", "False"),
    Mutation("one gap: not both below", "transform", "(gap_b == gap_a and not later)",
             "gap_b == gap_a"),
    Mutation("a cell taken out above", "transform", "taken is not None and taken < index",
             "False"),
    Mutation("a cell put in above", "transform", "gap is not None and gap <= index",
             "gap is not None and gap < index"),
    Mutation(
        "an index after both taking out and putting in",
        "transform",
        "        index -= 1\n    if gap",
        "        return index - 1\n    if gap",
    ),
    Mutation("a gap without a cell", "transform", "return gap - 1 if index < gap else gap",
             "return gap - 1 if index <= gap else gap"),
    Mutation(
        "gap a is counted without cell b",
        "transform",
        "taken_b if taken_a is None else _index_after(taken_b, taken_a, None)",
        "taken_b",
    ),
    Mutation(
        "gap b is counted without cell a",
        "transform",
        "taken_a if taken_b is None else _index_after(taken_a, taken_b, None)",
        "taken_a",
    ),
    # Changes.
    Mutation("the grid: what follows meets the other as transformed", "transform",
             "        b = b_after\n", ""),
    Mutation("the grid: both sides", "transform", "            b_after += other_after\n", ""),
    Mutation(
        "the grid: the roles",
        "transform",
        "transform(b[0], a[0], later=not later)",
        "transform(b[0], a[0], later=later)",
    ),
    Mutation(
        "the grid: an operation that became two",
        "transform",
        "            if len(over) != 1:\n",
        "            if not over:\n",
    ),
    # Compose.
    Mutation(
        "compose: a key that is removed may not have been there",
        "compose",
        'return None if after["op"] == "remove" else [after]',
        "return [after]",
    ),
    Mutation("compose: an edit without effect is none", "compose", "if delta else []", ""),
    Mutation(
        "compose: nothing moves to before what it depends on",
        "compose",
        "            break\n",
        "",
    ),
    Mutation("compose: what is inside depends", "compose",
             "return a[: len(b)] == b or b[: len(a)] == a", "return a == b"),
    Mutation("compose: what is around depends", "compose",
             "return a[: len(b)] == b or b[: len(a)] == a", "return a[: len(b)] == b"),
    Mutation(
        "compose: what was between stays",
        "compose",
        "change[: index + 1] = earlier",
        "change[:] = earlier",
    ),
    Mutation("compose: typing is one edit", "compose", 'if after["op"] == "edit":', "if False:"),
    Mutation("compose: the first change is not written into", "compose", "result = list(a)",
             "result = a"),
    # Invert.
    Mutation("invert: backwards", "invert", "inverse[:0] = ", "inverse += "),
    Mutation("invert: each from its own state", "invert",
             "            document = apply(document, [operation])\n", "            pass\n"),
    Mutation("invert: a new key goes", "invert", "if key not in container:", "if False:"),
    Mutation("invert: a move goes back", "invert",
             '"index": operation["to"], "to": operation["index"]', '"to": operation["index"]'),
    Mutation("invert: a run leaves nothing to take back", "invert",
             'if verb == "run":\n        return []',
             'if verb == "run":\n        return [operation]'),
    # Position.
    Mutation("position: the caret of a removed cell", "position", "result = None",
             "result = offset"),
    Mutation("position: within a cell that is back", "position",
             'min(offset, len(operation["value"][where[2]]))', "offset"),
    Mutation("position: only its own text", "position", ' and operation["path"] == path', ""),
    Mutation("position: edit after edit", "position",
             'position_in_delta(result, operation["delta"])',
             'position_in_delta(offset, operation["delta"])'),
    # Apply.
    Mutation("apply: an id is new", "apply", 'if cell_id in self.document["cells"]:', "if False:"),
    Mutation("apply: an id is at its index", "apply",
             "if index >= len(present) or present[index] != cell_id:",
             "if index >= len(present):"),
    Mutation("apply: add within the list", "apply", "if index > len(present):", "if False:"),
    Mutation("apply: move within the list", "apply", 'if operation["to"] >= len(order):',
             "if False:"),
    Mutation("apply: a way of objects", "apply", "if type(inner) is not dict:",
             "if inner is None:"),
    Mutation("apply: a key that is there", "apply", "elif key not in container:", "elif False:"),
    Mutation("apply: a run of a cell that is there", "apply",
             'if where[1] not in self.document["cells"]:', "if False:"),
    Mutation("apply: the gap of a move is without the cell", "apply",
             'order.insert(operation["to"], order.pop(index))',
             'order.insert(operation["to"], cell_id); order.remove(cell_id)'),
    Mutation("apply: the document is not written into", "apply",
             "self.document = dict(self.document)", "pass"),
    Mutation("apply: nor its cells", "apply",
             "document[field] = document[field].copy()", "pass"),
    Mutation("apply: nor a cell", "apply", "cells[cell_id] = dict(cells[cell_id])", "pass"),
    Mutation("apply: nor what is in a cell", "apply", "inner = dict(inner)", "inner"),
    Mutation("apply: nor a cell that came back", "apply",
             'self.cells.discard(cell_id)', "pass"),
    Mutation("apply: where a refusal is", "apply", 'raise refused.within(f"/{index}") from None',
             "raise"),
    # Check.
    Mutation("check: NaN", "check", "if not math.isfinite(item):", "if False:"),
    Mutation("check: great integers", "check", "if not -MAX_INTEGER <= item <= MAX_INTEGER:",
             "if False:"),
    Mutation("check: 2**53 is none", "check", "if not -MAX_INTEGER <= item <= MAX_INTEGER:",
             "if not -MAX_INTEGER < item < MAX_INTEGER:"),
    Mutation("check: texts", "check", "            _check_text(item, where)\n",
             "            pass\n"),
    Mutation("check: keys", "check", "                    _check_text(key, where)\n", ""),
    Mutation("check: depth", "check", "if len(where) + level >= MAX_DEPTH:",
             "if len(where) + level > MAX_DEPTH:"),
    Mutation("check: depth counts from the cell", "check", "return len(where) - 2", "return 0"),
    Mutation("check: unknown fields of a cell", "check", "if field not in CELL_FIELDS:",
             "if False:"),
    Mutation("check: a cell has all fields", "check", "if field not in cell:", "if False:"),
    Mutation("check: names of fields can be sent", "check",
             "_check_text(str(field), ())  # it", "pass  # it"),
    Mutation("check: outputs are in a cell", "check", "check_value(part, level)",
             "check_value(part)"),
    Mutation("check: the whole id", "check", "CELL_ID.fullmatch(cell_id)",
             "CELL_ID.match(cell_id)"),
    Mutation("check: trust", "check", 'if "trusted" in metadata:', "if False:"),
    Mutation("check: what is inside trust", "check",
             'if field == "metadata" and inner and inner[0] == "trusted":', "if False:"),
    Mutation("check: runs at the end", "check", 'if running and operation["op"] != "run":',
             "if False:"),
    Mutation("check: no field too many", "check", "if operation.keys() != fields:",
             "if not operation.keys() >= fields:"),
    Mutation("check: no field too few", "check", "if operation.keys() != fields:",
             "if not operation.keys() <= fields:"),
    Mutation("check: a number from 0", "check",
             "type(operation[field]) is not int or operation[field] < 0",
             "type(operation[field]) is not int"),
    Mutation("check: no move to its own place", "check",
             'if verb == "move" and operation["index"] == operation["to"]:', "if False:"),
    Mutation("check: execution of an added cell", "check",
             'if from_client and operation["value"]["execution"]:', "if False:"),
    Mutation("check: execution", "check", 'if field in ("execution", "kernel") and from_client:',
             "if False:"),
    Mutation("check: new outputs", "check",
             "                if from_client:\n                    raise",
             "                if False:\n                    raise"),
    Mutation("check: clients may clear outputs", "check",
             '            if type(part) is int:\n                if abs(part)',
             '            if type(part) is int and not from_client:\n                if abs(part)'),
    Mutation("check: a required field stays", "check",
             '        if not inner and field != "kernel":\n            raise',
             "        if False:\n            raise"),
    Mutation("check: a sequence is only edited", "check", 'if verb != "edit":', "if False:"),
    Mutation("check: types of fixed fields", "check", "    if not inner:\n        try:",
             "    if False:\n        try:"),
    # Pointers.
    Mutation("pointers: ~0 and ~1 only", "pointer", 'r"~(?![01])"', 'r"~(?![0-9])"'),
    Mutation("pointers: ~01 is ~1", "pointer", '.replace("~1", "/").replace("~0", "~")',
             '.replace("~0", "~").replace("~1", "/")'),
    Mutation("pointers: ~ is written first", "pointer",
             '.replace("~", "~0").replace("/", "~1")', '.replace("/", "~1").replace("~", "~0")'),
    Mutation("pointers: a leading slash", "pointer", 'if path[0] != "/":', "if False:"),
]  # fmt: skip
