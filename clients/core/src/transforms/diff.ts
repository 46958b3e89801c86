/** What was changed, told from two states of a document. */

import { canonical } from './delta.js';
import { equal } from './equal.js';
import { append } from './lists.js';
import { gaps, longestIncreasing, match } from './match.js';
import { pointer } from './pointer.js';
import { diffText, similar } from './texts.js';
import {
  CELL_FIELDS,
  type Cell,
  type Change,
  type Delta,
  type Document,
  type Json,
  type JsonObject,
  type NotebookDocument,
  get,
  has,
  isNotebook,
  isObject,
  put
} from './values.js';

/**
 * The change that makes `old` into `document`: two notebooks, or two text files.
 *
 * Cells are the same if their ids are (see {@link adoptIds}). They are moved as few times as possible;
 * texts and outputs are edited, of objects only the keys that differ are written. Equal documents give
 * `[]`. The values of the change are those of `document`, not copies.
 */
export function diff(old: Document, document: Document): Change {
  if (isNotebook(old) && isNotebook(document)) {
    return diffNotebook(old, document);
  }
  if (isNotebook(old) || isNotebook(document)) {
    throw new TypeError('a notebook and a text file have no change between them');
  }
  return edit(pointer('source'), diffText(old.source, document.source));
}

function diffNotebook(old: NotebookDocument, document: NotebookDocument): Change {
  const change = diffOrder(old, document);
  for (const id of document.order) {
    const before = get(old.cells, id);
    if (before !== undefined) {
      append(change, diffCell(id, before, document.cells[id] as Cell));
    }
  }
  append(change, diffObject(['metadata'], old.metadata, document.metadata));
  append(change, diffObject([], kernelOf(old), kernelOf(document)));
  return change;
}

function kernelOf({ kernel }: NotebookDocument): JsonObject {
  return kernel === undefined ? {} : { kernel };
}

/** Remove, add and move cells; each index is that in the list as the operation finds it. */
function diffOrder(old: NotebookDocument, document: NotebookDocument): Change {
  const change: Change = [];
  for (let index = old.order.length - 1; index >= 0; index -= 1) {
    const id = old.order[index] as string;
    if (!has(document.cells, id)) {
      change.push({ op: 'remove', path: pointer('cells', id), index });
    }
  }
  const order = old.order.filter(id => has(document.cells, id));
  const place = new Map(order.map((id, index) => [id, index]));
  const kept = document.order.filter(id => place.has(id));
  const places = kept.map(id => place.get(id) as number);
  const staying = new Set(longestIncreasing(places).map(index => kept[index]));
  // Left of `at` stands what is in order already, among cells that are still to be moved away.
  let at = 0;
  for (const id of document.order) {
    const path = pointer('cells', id);
    if (staying.has(id)) {
      at = order.indexOf(id, at);
    } else if (place.has(id)) {
      const index = order.indexOf(id);
      order.splice(index, 1);
      at -= index < at ? 1 : 0;
      order.splice(at, 0, id);
      change.push({ op: 'move', path, index, to: at });
    } else {
      order.splice(at, 0, id);
      change.push({ op: 'add', path, index: at, value: document.cells[id] as Cell });
    }
    at += 1;
  }
  return change;
}

function diffCell(id: string, old: Cell, cell: Cell): Change {
  if (old === cell) {
    return [];
  }
  return CELL_FIELDS.flatMap((field): Change => {
    const where = ['cells', id, field];
    if (field === 'source') {
      return edit(pointer(...where), diffText(old.source, cell.source));
    }
    if (field === 'outputs') {
      return edit(pointer(...where), diffList(old.outputs, cell.outputs));
    }
    const [before, after] = [old[field], cell[field]];
    if (isObject(before) && isObject(after)) {
      return diffObject(where, before, after);
    }
    return equal(before, after)
      ? []
      : [{ op: 'replace', path: pointer(...where), value: after as Json }];
  });
}

function edit(path: string, delta: Delta): Change {
  return delta.length > 0 ? [{ op: 'edit', path, delta }] : [];
}

/** Write the keys that differ, as deep inside as there are objects on both sides. */
function diffObject(root: string[], old: JsonObject, object: JsonObject): Change {
  const change: Change = [];
  const stack: [string[], JsonObject, JsonObject][] = [[root, old, object]];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const [where, before, after] = top;
    for (const key of Object.keys(before)) {
      if (!has(after, key)) {
        change.push({ op: 'remove', path: pointer(...where, key) });
      }
    }
    for (const [key, value] of Object.entries(after)) {
      const present = get(before, key);
      if (isObject(present) && isObject(value)) {
        stack.push([[...where, key], present, value]);
      } else if (present === undefined || !equal(present, value)) {
        change.push({ op: 'replace', path: pointer(...where, key), value });
      }
    }
  }
  return change;
}

/**
 * The canonical delta between two lists of outputs: what lies between the equal items at the start
 * and at the end is replaced.
 */
export function diffList(old: Json[], list: Json[]): Delta {
  const limit = Math.min(old.length, list.length);
  let start = 0;
  while (start < limit && equal(old[start], list[start])) {
    start += 1;
  }
  let end = 0;
  while (end < limit - start && equal(old[old.length - 1 - end], list[list.length - 1 - end])) {
    end += 1;
  }
  return canonical([start, list.slice(start, list.length - end), start + end - old.length]);
}

// Cells whose ids were lost.

/**
 * `document` with the ids of `old`'s cells where it is the same cell. A cell whose id `old` has keeps
 * it. The others are recognised, in this order, by equal type and source between the same neighbours,
 * equal type and source elsewhere (moved), similar source between the same neighbours. Returned itself
 * if all ids stay.
 */
export function adoptIds(old: Document, document: Document): Document {
  if (!isNotebook(old) || !isNotebook(document)) {
    return document;
  }
  const ids = adopted(old, document);
  if (ids.size === 0) {
    return document;
  }
  const nameOf = (id: string): string => ids.get(id) ?? id;
  const cells: Record<string, Cell> = {};
  for (const [id, cell] of Object.entries(document.cells)) {
    put(cells, nameOf(id), cell);
  }
  return { ...document, cells, order: document.order.map(nameOf) };
}

/** The new names of cells, by the ids they have in `document`. */
function adopted(old: NotebookDocument, document: NotebookDocument): Map<string, string> {
  const ids = new Map<string, string>();
  const [a, b] = [old.order, document.order];
  const freeA = a.map(id => !has(document.cells, id));
  const freeB = b.map(id => !has(old.cells, id));
  if (!freeB.includes(true)) {
    return ids;
  }
  const adopt = (i: number, j: number): void => {
    if (freeB[j] === true) {
      ids.set(b[j] as string, a[i] as string);
      freeA[i] = false;
      freeB[j] = false;
    }
  };
  const keysA = a.map(id => cellKey(id, old, document));
  const keysB = b.map(id => cellKey(id, document, old));
  const inOrder = match(keysA, keysB, true);
  for (const [i, j, n] of inOrder) {
    for (let k = 0; k < n; k += 1) {
      adopt(i + k, j + k);
    }
  }
  const places = new Map<string, number[]>();
  for (let i = a.length - 1; i >= 0; i -= 1) {
    if (freeA[i] === true) {
      const key = keysA[i] as string;
      places.set(key, [...(places.get(key) ?? []), i]);
    }
  }
  keysB.forEach((key, j) => {
    const found = freeB[j] === true ? places.get(key)?.pop() : undefined;
    if (found !== undefined) {
      adopt(found, j);
    }
  });
  for (const [i, iEnd, j, jEnd] of gaps(inOrder, a.length, b.length)) {
    const left = numbers(i, iEnd).filter(x => freeA[x]);
    const right = numbers(j, jEnd).filter(y => freeB[y]);
    const sourceOf = (from: NotebookDocument, index: number): string =>
      (from.cells[from.order[index] as string] as Cell).source;
    const pairs = similar(
      left.map(x => sourceOf(old, x)),
      right.map(y => sourceOf(document, y))
    );
    for (const [x, y] of pairs) {
      adopt(left[x] as number, right[y] as number);
    }
  }
  return ids;
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

/** What two cells that are one have in common: the id; else, without it, type and source. */
function cellKey(id: string, mine: NotebookDocument, others: NotebookDocument): string {
  if (has(others.cells, id)) {
    return '=' + id;
  }
  const cell = mine.cells[id] as Cell;
  return `${cell.cell_type} ${cell.source}`;
}
