/**
 * One change that does what two do: for what has not been sent yet, and only for that. Others have
 * transformed against entries one by one; transforming against a composed history gives different
 * results in about one case of fifty.
 */

import { type Write, isCellOperation } from './apply.js';
import { composeDelta } from './delta.js';
import { type Segments, segments, startsWith } from './pointer.js';
import { writtenInto } from './transform.js';
import type { Change, Operation } from './values.js';

/** The change that does `a` and then `b`. `a` must not end with `run`. */
export function compose(a: Change, b: Change): Change {
  const result = [...a];
  for (const operation of b) {
    add(result, operation);
  }
  return result;
}

/** Append an operation, or merge it into the last one that touches the same place. */
function add(change: Change, operation: Operation): void {
  if (operation.op !== 'run') {
    const where = segments(operation.path);
    for (let index = change.length - 1; index >= 0; index -= 1) {
      const before = change[index] as Operation;
      const beforeWhere = segments(before.path);
      if (!startsWith(where, beforeWhere) && !startsWith(beforeWhere, where)) {
        continue; // independent: the operation may move to before it
      }
      const merged = merge(before, operation, beforeWhere, where);
      if (merged === null) {
        break;
      }
      const earlier = change.slice(0, index);
      for (const one of merged) {
        add(earlier, one); // which may merge once more
      }
      change.splice(0, index + 1, ...earlier);
      return;
    }
  }
  change.push(operation);
}

/** The operations (none or one) that do both, where one can. */
function merge(
  before: Operation,
  after: Operation,
  beforeWhere: Segments,
  where: Segments
): Change | null {
  if (isCellOperation(after)) {
    return null;
  }
  if (isCellOperation(before)) {
    return before.op === 'add' && where.length > 2
      ? [writtenInto(before, where.slice(2), after as Write)]
      : null;
  }
  if (before.path === after.path) {
    if (after.op === 'edit' && before.op === 'edit') {
      const delta = composeDelta(before.delta, after.delta);
      return delta.length > 0 ? [{ op: 'edit', path: after.path, delta }] : [];
    }
    // Whether the key was there before the replace is not known here: both must stay.
    return after.op === 'remove' ? null : [after];
  }
  if (beforeWhere.length < where.length && before.op === 'replace') {
    return [writtenInto(before, where.slice(beforeWhere.length), after as Write)];
  }
  return null;
}
