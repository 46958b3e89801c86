/** What has no place any more in what others made of the document. Pure. */

import { type Change, type Document, isNotebook } from '../transforms/index.js';
import { addedCells, removedCells, typedTexts, typesIn } from './changes.js';
import type { Conflict } from './parts.js';

/**
 * The cells of `seen` that the foreign change `ops` removes while text of `ours` is on its way into
 * them, and those that it brings back, with another text, while we do too.
 */
export function lostTo(ops: Change, ours: readonly Change[], seen: Document): Conflict[] {
  const removed = removedCells(ops).filter(id => ours.some(one => typesIn(one, id)));
  const twice = [...addedCells(ops)].filter(([id, theirs]) => {
    const brought = ours.some(one => addedCells(one).has(id));
    return brought && cellOf(seen, id)?.source !== theirs.source;
  });
  return copies(seen, [...removed, ...twice.map(([id]) => id)]);
}

/**
 * The cells of `seen` that changes of ours typed in, if what became of it was not seen here and the
 * snapshot lacks it: the cell may have been removed before, and have come back since.
 */
export function lackingIn(snapshot: Document, sent: readonly Change[], seen: Document): Conflict[] {
  const lacking = [...typedTexts(sent)].filter(([id, typed]) => {
    const theirs = cellOf(snapshot, id);
    return !theirs || typed.some(text => !theirs.source.includes(text));
  });
  return copies(
    seen,
    lacking.map(([id]) => id)
  );
}

function copies(seen: Document, ids: readonly string[]): Conflict[] {
  return ids.flatMap(id => {
    const cell = cellOf(seen, id);
    return cell ? [{ id, cell }] : [];
  });
}

function cellOf(document: Document, id: string) {
  return isNotebook(document) && Object.hasOwn(document.cells, id) ? document.cells[id] : undefined;
}
