/** The change that takes a change back. */

import { apply, isCellOperation } from './apply.js';
import { invertDelta, type Sequence } from './delta.js';
import { segment, segments } from './pointer.js';
import {
  type Change,
  type Document,
  type Json,
  type JsonObject,
  type NotebookDocument,
  type Operation,
  Refused,
  get
} from './values.js';

/**
 * The change that takes `change` back; `document` is the one before it:
 * `apply(apply(document, change), invert(document, change))` equals `document`. Throws as `apply`.
 */
export function invert(document: Document, change: Change): Change {
  const inverse: Change = [];
  let before = document;
  change.forEach((operation, index) => {
    inverse.unshift(...inverted(before, operation));
    if (index < change.length - 1) {
      before = apply(before, [operation]);
    }
  });
  return inverse;
}

function inverted(document: Document, operation: Operation): Change {
  const { path } = operation;
  if (operation.op === 'run') {
    return [];
  }
  if (operation.op === 'add') {
    return [{ op: 'remove', path, index: operation.index }];
  }
  if (operation.op === 'move') {
    return [{ op: 'move', path, index: operation.to, to: operation.index }];
  }
  const where = segments(path);
  if (isCellOperation(operation)) {
    const value = get((document as NotebookDocument).cells, segment(where, 1));
    if (value === undefined) {
      throw new Refused('not_found', 'there is no such cell', '/path');
    }
    return [{ op: 'add', path, index: operation.index, value }];
  }
  let container = document as unknown as JsonObject;
  for (const key of where.slice(0, -1)) {
    container = get(container, key) as JsonObject;
  }
  const old: Json | undefined = get(container, segment(where, where.length - 1));
  if (operation.op === 'edit') {
    return [{ op: 'edit', path, delta: invertDelta(old as Sequence, operation.delta) }];
  }
  return [old === undefined ? { op: 'remove', path } : { op: 'replace', path, value: old }];
}
