/**
 * Undo and redo of one's own changes, whatever others do meanwhile. Pure.
 *
 * A stack of inverses. The top one applies to the document as it is seen now, the next one after
 * the top one, and so on. Foreign changes transform the stack; those that are on it never do.
 *
 * There is one such pair of stacks per *scope*, a name of the front end's choice: typing in one
 * cell may have its own, so that undo in the cell takes typing back and leaves alone what was done
 * to the list of cells. To the stacks of a scope, a change recorded in another one is foreign.
 */

import {
  type Change,
  type Operation,
  Refused,
  clientCell,
  compose,
  segments,
  transform,
  transformChanges
} from '../transforms/index.js';
import { isOfOrder, samePath } from './changes.js';

/** What a change was: an edit of the user's, an undo, a redo. */
export type Step = 'edit' | 'undo' | 'redo';

const KERNELS = new Set(['outputs', 'execution_count', 'execution']); // not the author's
const MOST_ITEMS = 200; // of one stack
const MOST_SCOPES = 500; // the ones not used for longest are forgotten

interface Stacks {
  undo: Change[];
  redo: Change[];
}

/** The stacks of all scopes. */
export class Undo {
  private readonly scopes = new Map<string, Stacks>();

  /**
   * Remember in a scope how to take a change back; `ops` is the change itself. Scope null: it can't
   * be taken back. `merge`: one step of undo takes it and the one before it back.
   */
  record(
    scope: string | null,
    ops: Change,
    inverse: Change,
    of: Step = 'edit',
    merge = false
  ): void {
    for (const [other, stacks] of this.scopes) {
      if (other !== scope) {
        overStacks(stacks, ops);
      }
    }
    const kept = inverse.filter(one => !isOfKernel(one)).map(restorable);
    if (scope !== null && kept.length) {
      push(this.stacksOf(scope), kept, of, merge);
    }
  }

  /** Somebody else's change of the document as it is seen. */
  foreign(change: Change): void {
    for (const stacks of this.scopes.values()) {
      overStacks(stacks, change);
    }
  }

  /**
   * Somebody else's write in a cell that one's own change, not committed yet, removed: it goes into
   * the cell that undo brings back. (Not what is known of its run: that is over.)
   */
  died(operation: Operation): void {
    const where = segments(operation.path);
    if (where[2] === 'execution') {
      return;
    }
    for (const { undo, redo } of this.scopes.values()) {
      writeIntoNewest(undo, where.slice(0, 2), operation);
      writeIntoNewest(redo, where.slice(0, 2), operation);
    }
  }

  /** Take the newest item off a stack; undefined if there is none. */
  pop(scope: string, of: 'undo' | 'redo'): Change | undefined {
    return this.scopes.get(scope)?.[of].pop();
  }

  /** Whether there is anything to undo, or redo, in a scope. */
  can(scope: string, of: 'undo' | 'redo'): boolean {
    return this.scopes.get(scope)?.[of].some(item => item.length > 0) ?? false;
  }

  /** Forget everything. */
  clear(): void {
    this.scopes.clear();
  }

  private stacksOf(scope: string): Stacks {
    const stacks = this.scopes.get(scope) ?? { undo: [], redo: [] };
    this.scopes.delete(scope);
    this.scopes.set(scope, stacks); // the one used last stands last
    for (const oldest of this.scopes.keys()) {
      if (this.scopes.size <= MOST_SCOPES) {
        break;
      }
      this.scopes.delete(oldest);
    }
    return stacks;
  }
}

function push(stacks: Stacks, inverse: Change, of: Step, merge: boolean): void {
  const stack = of === 'undo' ? stacks.redo : stacks.undo;
  const newest = stack.at(-1);
  // After an undo, what is on top is no neighbour of what is typed now.
  if (merge && of === 'edit' && newest?.length && !stacks.redo.length) {
    stack[stack.length - 1] = compose(inverse, newest);
  } else {
    stack.push(inverse);
    stack.splice(0, stack.length - MOST_ITEMS);
  }
  if (of === 'edit') {
    stacks.redo.length = 0;
  }
}

function overStacks(stacks: Stacks, change: Change): void {
  for (const stack of [stacks.undo, stacks.redo]) {
    let over = change;
    for (let index = stack.length - 1; index >= 0 && over.length; index--) {
      const item = stack[index] as Change;
      if (!areApart(item, over)) {
        [stack[index], over] = transformChanges(item, over, { later: true });
      }
    }
  }
}

/**
 * Whether two changes surely do not concern each other. Most do not, and stacks are long: each key
 * that is pressed goes over all stacks but one.
 */
function areApart(item: Change, over: Change): boolean {
  return over.every(other => !isOfOrder(other) && item.every(one => !areRelated(one, other)));
}

function areRelated(one: Operation, other: Operation): boolean {
  return one.path.startsWith(other.path) || other.path.startsWith(one.path);
}

/**
 * Write into the newest copy of a cell that the stack would add; older copies of it, from earlier
 * removals, have another text.
 */
function writeIntoNewest(stack: Change[], cell: readonly string[], operation: Operation): void {
  for (let at = stack.length - 1; at >= 0; at--) {
    const item = stack[at] as Change;
    const index = item.findIndex(one => one.op === 'add' && samePath(segments(one.path), cell));
    if (index >= 0) {
      const written = writtenInto(item[index] as Operation, operation);
      if (written) {
        stack[at] = [...item.slice(0, index), written, ...item.slice(index + 1)];
      }
      return;
    }
  }
}

/** Undefined where it does not fit: then the newest copy is on another stack. */
function writtenInto(add: Operation, operation: Operation): Operation | undefined {
  try {
    return transform(add, operation, { later: true })[0];
  } catch (error) {
    if (error instanceof Refused) {
      return undefined;
    }
    throw error;
  }
}

function isOfKernel(operation: Operation): boolean {
  const where = segments(operation.path);
  return where.length > 2 && where[0] === 'cells' && KERNELS.has(where[2] as string);
}

function restorable(operation: Operation): Operation {
  return operation.op === 'add' ? { ...operation, value: clientCell(operation.value) } : operation;
}
