/** What the user did: transactions of Yjs, told as operations on the document that was shown. */

import {
  diff,
  equal,
  get,
  has,
  pointer,
  put,
  type Cell,
  type Change,
  type NotebookDocument
} from 'ot-jupyter-core';
import type * as Y from 'yjs';

import type { Local } from './binding.js';
import { readText } from './texts.js';
import { entriesOf, idOf, textOf, type NotebookView, type YCell } from './view.js';

const LONE_SURROGATES = /\p{Surrogate}/gu;

/** Which parts of the view a transaction changed. */
interface Touched {
  list: boolean;
  metadata: boolean;
  /** Cells of which more than the source changed. */
  readonly cells: Set<YCell>;
  readonly texts: Set<YCell>;
}

/** What a transaction did to the view, which showed `shown`; null: nothing that is shown. */
export function readNotebook(
  transaction: Y.Transaction,
  shown: NotebookDocument,
  view: NotebookView
): Local | null {
  const touched = touchedBy(transaction, view);
  const { list, metadata, cells, texts } = touched;
  if (!list && !metadata && cells.size === 0) {
    return texts.size > 0 ? readTyping(transaction, shown, view, texts) : null;
  }
  const next = readNext(shown, view, touched);
  const wrong = makeWellFormed(next, shown);
  const ops = diff(shown, next);
  return { ops, scope: scopeOf(transaction, ops, view), wrong };
}

function touchedBy(transaction: Y.Transaction, view: NotebookView): Touched {
  const touched: Touched = {
    ...{ list: false, metadata: false },
    ...{ cells: new Set(), texts: new Set() }
  };
  for (const [type, keys] of transaction.changed as Map<unknown, Set<string | null>>) {
    if (type === view.ycells) {
      touched.list = true;
    } else if (type === view.ymetadata || type === view.ymeta) {
      touched.metadata = true;
    } else {
      noteCell(touched, type as Y.AbstractType<unknown>, keys, view);
    }
  }
  return touched;
}

/** Find the cell that a type is part of. */
function noteCell(
  touched: Touched,
  type: Y.AbstractType<unknown>,
  keys: ReadonlySet<string | null>,
  { ycells, misstated }: NotebookView
): void {
  let [part, at]: [string | null, Y.AbstractType<unknown> | null] = [null, type];
  while (at !== null && at.parent !== (ycells as unknown)) {
    part = at._item?.parentSub ?? part;
    at = at.parent as Y.AbstractType<unknown> | null;
  }
  if (at === null) {
    return;
  }
  const ycell = at as unknown as YCell;
  if (part === 'source') {
    touched.texts.add(ycell);
  } else if (part !== null) {
    touched.cells.add(ycell);
  } else {
    if (keys.has('execution_state')) {
      misstated.add(idOf(ycell));
    }
    touched.list ||= keys.has('id');
    if ([...keys].some(key => key !== 'execution_state')) {
      touched.cells.add(ycell);
    }
  }
}

/** Only sources were changed. */
function readTyping(
  transaction: Y.Transaction,
  shown: NotebookDocument,
  view: NotebookView,
  texts: ReadonlySet<YCell>
): Local {
  const ops: Change = [];
  let anyWrong = false;
  for (const ycell of texts) {
    const id = idOf(ycell);
    const cell = get(shown.cells, id);
    if (cell !== undefined && view.maps.get(id) === ycell) {
      const { delta, wrong } = readText(transaction, textOf(ycell), cell.source);
      anyWrong ||= wrong;
      if (delta.length > 0) {
        ops.push({ op: 'edit', path: pointer('cells', id, 'source'), delta });
      }
    }
  }
  return { ops, scope: scopeOf(transaction, ops, view), wrong: anyWrong };
}

/** The document that the view shows now; cells that were not touched are the same objects. */
function readNext(
  shown: NotebookDocument,
  view: NotebookView,
  { list, cells, texts }: Touched
): NotebookDocument {
  const known = new Set(view.maps.values());
  const order = list ? view.register() : shown.order;
  const next: NotebookDocument = { ...shown, order, cells: {} };
  for (const id of order) {
    const ycell = view.maps.get(id) as YCell;
    const before = get(shown.cells, id);
    const same = before !== undefined && known.has(ycell) && !cells.has(ycell) && !texts.has(ycell);
    if (before !== undefined && !known.has(ycell)) {
      view.misstated.add(id); // what is new in Yjs says nothing of a run
    }
    put(next.cells, id, same ? before : view.read(ycell, before));
  }
  const metadata = entriesOf(view.ymetadata);
  next.metadata = equal(metadata, shown.metadata) ? shown.metadata : metadata;
  keepMerged(next, shown, view);
  return next;
}

/**
 * A merge of cells makes a new one and removes them all. It goes on as the one that it was made
 * from: what others type in that meanwhile stays.
 */
function keepMerged(next: NotebookDocument, shown: NotebookDocument, view: NotebookView): void {
  const fresh = next.order.filter(id => !has(shown.cells, id));
  const gone = shown.order.filter(id => !has(next.cells, id));
  const id = fresh[0];
  if (fresh.length !== 1 || id === undefined || gone.length < 2) {
    return;
  }
  const merged = next.cells[id] as Cell;
  const parts = gone.map(one => (shown.cells[one] as Cell).source);
  if (!['\n\n', '\n'].some(line => parts.join(line) === merged.source)) {
    return;
  }
  const alike = gone.filter(one => shown.cells[one]?.cell_type === merged.cell_type);
  const kept = alike.find(one => equal(shown.cells[one]?.metadata, merged.metadata)) ?? alike[0];
  if (kept === undefined) {
    return;
  }
  const ycell = view.maps.get(id) as YCell;
  view.rename(ycell, kept);
  view.maps.delete(id);
  view.maps.set(kept, ycell);
  next.order = next.order.map(one => (one === id ? kept : one));
  delete next.cells[id];
  view.misstated.add(kept);
  put(next.cells, kept, view.read(ycell, shown.cells[kept]));
}

/** Put U+FFFD for halves of pairs, which no document may have. Returns whether there were any. */
function makeWellFormed(next: NotebookDocument, shown: NotebookDocument): boolean {
  let found = false;
  for (const [id, cell] of Object.entries(next.cells)) {
    const source = cell.source.replace(LONE_SURROGATES, '\ufffd');
    if (cell !== get(shown.cells, id) && source !== cell.source) {
      found = true;
      put(next.cells, id, { ...cell, source });
    }
  }
  return found;
}

/**
 * Where it is remembered for undo. As in JupyterLab: typing in a cell with that cell, what is done
 * to cells with the notebook; metadata, and what is said not to be undoable, nowhere.
 */
function scopeOf(
  transaction: Y.Transaction,
  ops: Change,
  { notebook }: NotebookView
): string | null {
  const { origin } = transaction as { origin: unknown };
  const first = ops[0];
  if (origin === null || typeof origin === 'string' || first === undefined) {
    return null;
  }
  if (ops.every(one => one.path.startsWith('/metadata/'))) {
    return null;
  }
  const typing = first.op === 'edit' && ops.length === 1 && first.path.endsWith('/source');
  const own = typing && origin !== notebook && notebook.disableDocumentWideUndoRedo;
  return own ? (first.path.split('/')[2] as string) : '';
}
