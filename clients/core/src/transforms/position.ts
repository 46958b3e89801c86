/** Where a caret stands after a change. */

import { isCellOperation } from './apply.js';
import { positionInDelta } from './delta.js';
import { segments } from './pointer.js';
import { pointLength } from './units.js';
import type { Change } from './values.js';

/**
 * The caret before code point `offset` of the sequence at `path`, after the change. A caret stays
 * left of what is inserted at its very place. Null if its cell is removed (and not added again by the
 * same change).
 */
export function position(path: string, offset: number, change: Change): number | null {
  const where = segments(path);
  let result: number | null = offset;
  for (const operation of change) {
    if (isCellOperation(operation)) {
      const cell = segments(operation.path);
      if (where.length < 2 || cell[0] !== where[0] || cell[1] !== where[1]) {
        continue;
      }
      if (operation.op === 'remove') {
        result = null;
      } else if (operation.op === 'add') {
        const { source, outputs } = operation.value;
        const length = where[2] === 'outputs' ? outputs.length : pointLength(source);
        result = Math.min(offset, length);
      }
    } else if (result !== null && operation.op === 'edit' && operation.path === path) {
      result = positionInDelta(result, operation.delta);
    }
  }
  return result;
}
