/** What others did, and undo: operations on the document that was shown, written into Yjs. */

import {
  apply,
  get,
  segments,
  type Cell,
  type Change,
  type NotebookDocument,
  type Operation
} from 'ot-jupyter-core';
import type * as Y from 'yjs';

import { showText, writeEdit } from './texts.js';
import { idOf, metadataOf, textOf, type NotebookView, type YCell } from './view.js';

const MOST_AROUND = 20; // cells that are moved to leave the one where it is that somebody types in

/**
 * Write a change that takes `before` to `after`, but for outputs: the cells whose outputs changed
 * are stale then. In a transaction that is ours. `typing` is the cell that is typed in here: it is
 * not taken out of the list for a move, if that can be avoided, or the editor would be another one.
 */
export function writeNotebook(
  ops: Change,
  before: NotebookDocument,
  after: NotebookDocument,
  view: NotebookView,
  typing: string | null
): void {
  let document = before;
  for (const operation of ops) {
    const next = apply(document, [operation]) as NotebookDocument;
    writeOperation(operation, document, next, view, typing);
    document = next;
  }
  for (const operation of ops) {
    checkText(operation, after, view);
  }
}

function writeOperation(
  operation: Operation,
  before: NotebookDocument,
  after: NotebookDocument,
  view: NotebookView,
  typing: string | null
): void {
  const [root, id = '', field, key] = segments(operation.path);
  if (root === 'metadata') {
    view.showKey(view.ymetadata, id, get(after.metadata, id));
  } else if (root === 'cells' && field === undefined) {
    writeList(operation, id, after, view, typing);
  } else if (root === 'cells') {
    const ycell = view.maps.get(id);
    const [old, cell] = [get(before.cells, id), get(after.cells, id)];
    if (ycell !== undefined && old !== undefined && cell !== undefined) {
      writeCell(operation, field as string, key, ycell, old, cell, view);
      if (field === 'outputs') {
        view.blobs.forget(old, Object.values(after.cells));
      }
    }
  }
}

function writeList(
  operation: Operation,
  id: string,
  { cells, order }: NotebookDocument,
  view: NotebookView,
  typing: string | null
): void {
  if (operation.op === 'add') {
    view.insert(operation.index, id, cells[id] as Cell);
  } else if (operation.op === 'remove') {
    view.remove(operation.index as number, id);
  } else if (operation.op === 'move') {
    const { index, to } = operation;
    if (id === typing && Math.abs(to - index) <= MOST_AROUND) {
      moveAround(index, to, cells, view);
    } else {
      view.move(index, to, id, cells[order[to] as string] as Cell);
    }
  }
}

/** Move a cell by moving those that it passes, one after the other, to its other side. */
function moveAround(
  index: number,
  to: number,
  cells: NotebookDocument['cells'],
  view: NotebookView
): void {
  const step = to > index ? 1 : -1;
  for (let at = index; at !== to; at += step) {
    const id = idOf(view.ycells.get(at + step));
    view.move(at + step, at, id, cells[id] as Cell);
  }
}

function writeCell(
  operation: Operation,
  field: string,
  key: string | undefined,
  ycell: YCell,
  old: Cell,
  cell: Cell,
  view: NotebookView
): void {
  const id = idOf(ycell);
  switch (field) {
    case 'source':
      writeEdit(textOf(ycell), old.source, operation);
      break;
    case 'cell_type':
      if (ycell.get('cell_type') !== cell.cell_type) {
        const index = view.ycells.toArray().indexOf(ycell);
        view.remove(index, id);
        view.insert(index, id, cell);
      }
      break;
    case 'metadata':
      showIn(metadataOf(ycell), key, cell, view);
      break;
    case 'outputs':
      view.stale.add(id);
      break;
    case 'execution':
      view.stale.add(id); // what was too large to be shown while it grew may be fetched now
      view.showFields(ycell, cell);
      break;
    default:
      view.showFields(ycell, cell);
  }
}

function showIn(
  ymap: Y.Map<unknown>,
  key: string | undefined,
  { metadata }: Cell,
  view: NotebookView
): void {
  if (key === undefined) {
    view.showObject(ymap, metadata);
  } else {
    view.showKey(ymap, key, get(metadata, key));
  }
}

/** A text that has another length than it should is written whole. */
function checkText(operation: Operation, { cells }: NotebookDocument, view: NotebookView): void {
  const [root, id = '', field] = segments(operation.path);
  const [ycell, cell] = [view.maps.get(id), get(cells, id)];
  if (root === 'cells' && field === 'source' && ycell !== undefined && cell !== undefined) {
    const ytext = textOf(ycell);
    if (ytext.length !== cell.source.length) {
      showText(ytext, cell.source);
    }
  }
}

/** Make the list and all cells equal to the document, whatever they are; outputs become stale. */
export function showNotebook(document: NotebookDocument, view: NotebookView): void {
  const { cells, order, metadata } = document;
  const { notebook, ycells } = view;
  if (view.ymetadata === undefined) {
    notebook.fromJSON({ nbformat: 4, nbformat_minor: 5, metadata: {}, cells: [] });
  }
  view.showObject(view.ymetadata, metadata);
  view.register();
  order.forEach((id, index) => placeCell(index, id, cells[id] as Cell, view));
  ycells.delete(order.length, ycells.length - order.length);
  view.register();
  for (const [id, ycell] of view.maps) {
    const cell = cells[id] as Cell;
    showText(textOf(ycell), cell.source);
    view.showObject(metadataOf(ycell), cell.metadata);
    view.showFields(ycell, cell);
    if (cell.cell_type === 'code' && !view.showsOutputs(ycell, cell)) {
      view.stale.add(id);
    }
  }
}

/** Have a cell at its place; those before it are. */
function placeCell(index: number, id: string, cell: Cell, view: NotebookView): void {
  const { ycells, maps } = view;
  const there = index < ycells.length ? ycells.get(index) : undefined;
  const ycell = maps.get(id);
  if (there !== undefined && there === ycell && there.get('cell_type') === cell.cell_type) {
    return;
  }
  const at = ycell === undefined ? -1 : ycells.toArray().indexOf(ycell);
  if (at >= 0) {
    view.remove(at, id);
  }
  view.insert(index, id, cell);
}
