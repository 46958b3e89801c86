/** Questions about changes that the client asks. Pure. */

import {
  type Cell,
  type Change,
  type Operation,
  segments,
  transformChanges
} from '../transforms/index.js';

/** Whether an operation puts a cell in, takes it out, or moves it. */
export function isOfOrder(operation: Operation): boolean {
  return 'index' in operation;
}

/** Whether two lists of path segments are equal. */
export function samePath(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((part, index) => part === b[index]);
}

/** Whether a change ends by asking for a run. */
export function endsWithRun(ops: Change): boolean {
  return ops.at(-1)?.op === 'run';
}

/** Whether a change only asks for runs: that is no writing. */
export function onlyRuns(ops: Change): boolean {
  return ops[0]?.op === 'run';
}

/** What a change does besides asking for runs. */
export function withoutRuns(ops: Change): Change {
  return ops.filter(one => one.op !== 'run');
}

/** Whether an operation is one that only the server may write. */
export function isKernels(operation: Operation): boolean {
  const where = segments(operation.path);
  if (operation.op === 'edit' && where.length === 3 && where[2] === 'outputs') {
    return operation.delta.some(part => typeof part !== 'number');
  }
  return where[0] === 'kernel' || where[2] === 'execution';
}

/** The cells that a change removes (even if it adds them again: what was typed is gone). */
export function removedCells(ops: Change): string[] {
  return ops
    .filter(one => one.op === 'remove' && isOfOrder(one))
    .map(one => segments(one.path)[1] as string);
}

/** The cells that a change adds, by their ids. */
export function addedCells(ops: Change): Map<string, Cell> {
  const added = new Map<string, Cell>();
  for (const one of ops) {
    if (one.op === 'add') {
      added.set(segments(one.path)[1] as string, one.value);
    }
  }
  return added;
}

/** Whether a change removes a cell that it adds, too. */
export function replacesACell(ops: Change): boolean {
  const added = new Set(ops.filter(one => one.op === 'add').map(one => one.path));
  return ops.some(one => one.op === 'remove' && added.has(one.path));
}

/** The texts that an edit inserts. */
function insertedTexts(operation: Operation): string[] {
  if (operation.op !== 'edit') {
    return [];
  }
  return operation.delta.filter((part): part is string => typeof part === 'string');
}

/** The texts that changes insert into cells, by cell. */
export function typedTexts(changes: readonly Change[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const operation of changes.flat()) {
    const where = segments(operation.path);
    if (operation.op === 'edit' && where[0] === 'cells' && where[2] === 'source') {
      const cell = where[1] as string;
      found.set(cell, [...(found.get(cell) ?? []), ...insertedTexts(operation)]);
    }
  }
  return found;
}

/** Whether a change inserts text into a cell. */
export function typesIn(ops: Change, cell: string): boolean {
  const path = `/cells/${cell}/source`;
  return ops.some(one => one.path === path && insertedTexts(one).length > 0);
}

/**
 * The writes of a foreign change in cells that our own change removes, and the moves of those
 * cells, as they would be just before each removal.
 */
export function dyingIn(foreign: Change, own: Change): Change {
  const lost: Change = [];
  own.forEach((one, index) => {
    if (one.op === 'remove' && isOfOrder(one)) {
      const cell = segments(one.path);
      const there = transformChanges(own.slice(0, index), foreign, { later: true })[1];
      lost.push(...there.filter(other => isAbout(other, cell)));
    }
  });
  return lost;
}

function isAbout(operation: Operation, cell: readonly string[]): boolean {
  const counts = operation.op === 'move' || !(operation.op === 'run' || isOfOrder(operation));
  return counts && samePath(segments(operation.path).slice(0, 2), cell);
}
