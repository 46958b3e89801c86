/**
 * The heart: two changes made for one state, each rewritten to apply after the other.
 *
 * `transform(a, b, {later})` knows which of the two was committed later. The server transforms a
 * submission as the later one over each entry that its author had not seen; a client transforms an
 * entry as the earlier one over what it has pending. Same function, same roles, same order: equal
 * documents. As the log is a total order, the first transformation property (TP1) is enough:
 *
 *     apply(apply(d, a), transform(b, a)) == apply(apply(d, b), transform(a, b))
 *
 * Operations inside cells carry the cell's id, so moves never touch them. Operations on the order of
 * the cells carry the id and indexes: ids say "the same cell", indexes are transformed.
 */

import { type CellOperation, type Write, isCellOperation, writeKey } from './apply.js';
import { transformDelta } from './delta.js';
import { append } from './lists.js';
import { type Segments, segment, segments, startsWith } from './pointer.js';
import {
  type AddOperation,
  type Change,
  type EditOperation,
  type Json,
  type JsonObject,
  type MoveOperation,
  type Operation,
  type ReplaceOperation,
  get,
  has,
  isObject,
  put
} from './values.js';

/** Which of two changes was committed later: the first one, or not. */
export interface Role {
  later: boolean;
}

/**
 * `a`, rewritten to apply after `b`: none, one or two operations. Both are valid operations for one
 * document; `later` says that `a` is committed after `b`.
 */
export function transform(a: Operation, b: Operation, { later }: Role): Change {
  if (a.op === 'edit' && b.op === 'edit') {
    return a.path === b.path ? editOverEdit(a, b, later) : [a];
  }
  if (b.op === 'run') {
    return [a];
  }
  const whereA = segments(a.path);
  const whereB = segments(b.path);
  if (isCellOperation(b)) {
    if (isCellOperation(a)) {
      return orderOverOrder(a, b, later);
    }
    return b.op === 'remove' && startsWith(whereA, whereB) ? [] : [a];
  }
  if (isCellOperation(a)) {
    return a.op === 'add' && startsWith(whereB, whereA)
      ? [writtenInto(a, whereB.slice(2), b as Write)]
      : [a];
  }
  return a.op === 'run' ? [a] : writeOverWrite(a as Write, b as Write, whereA, whereB, later);
}

function editOverEdit(a: EditOperation, b: EditOperation, later: boolean): Change {
  const delta = transformDelta(a.delta, b.delta, later);
  return delta.length > 0 ? [{ op: 'edit', path: a.path, delta }] : [];
}

// Registers: keys of objects. The later write wins; a removed container wins over writes inside.

function writeOverWrite(
  a: Write,
  b: Write,
  whereA: Segments,
  whereB: Segments,
  later: boolean
): Change {
  const aInB = startsWith(whereA, whereB);
  const bInA = startsWith(whereB, whereA);
  if (aInB && bInA) {
    return later && !(a.op === 'remove' && b.op === 'remove') ? [a] : [];
  }
  if (aInB) {
    const stays = later && b.op === 'replace' && hasPlace(b.value, whereA.slice(whereB.length), a);
    return stays ? [a] : [];
  }
  if (bInA && !later && a.op === 'replace') {
    return [writtenInto(a, whereB.slice(whereA.length), b)];
  }
  return [a];
}

/** Whether a write finds its way in the value (for a removal: and its key). */
function hasPlace(value: Json, where: Segments, operation: Write): boolean {
  let inner: Json | undefined = value;
  for (const key of where.slice(0, -1)) {
    inner = isObject(inner) ? get(inner, key) : undefined;
  }
  const last = segment(where, where.length - 1);
  return isObject(inner) && (operation.op !== 'remove' || has(inner, last));
}

/**
 * `a` with `b`, which goes to `where` in a's value, written into that value.
 *
 * For an `add` this can't be a race (who writes into a cell that is not there yet?); it is how a
 * foreign edit of a removed cell gets into the removal's inverse, so that undo brings it back.
 */
export function writtenInto<A extends AddOperation | ReplaceOperation>(
  a: A,
  where: Segments,
  b: Write
): A {
  if (!hasPlace(a.value as unknown as Json, where, b)) {
    return a;
  }
  const root: JsonObject = { ...(a.value as unknown as JsonObject) };
  let inner = root;
  for (const key of where.slice(0, -1)) {
    const copy: JsonObject = { ...(get(inner, key) as JsonObject) };
    put<Json>(inner, key, copy);
    inner = copy;
  }
  writeKey(inner, segment(where, where.length - 1), b);
  return { ...a, value: root };
}

// The order of the cells. An operation takes a cell out at an index, or puts one into a gap, or both;
// the gap of a move is counted in the list without the moved cell.

function orderOverOrder(a: CellOperation, b: CellOperation, later: boolean): Change {
  if (a.path === b.path) {
    return sameCell(a, b, later);
  }
  const takenA = a.op === 'add' ? null : a.index;
  const takenB = b.op === 'add' ? null : b.index;
  const gapB = gapOf(b);
  if (a.op === 'add') {
    return [{ ...a, index: gapAfter(a.index, null, gapB, takenB, later) }];
  }
  const index = indexAfter(a.index, takenB, gapB);
  if (a.op === 'remove') {
    return [{ ...a, index }];
  }
  const to = gapAfter(a.to, takenA, gapB, takenB, later);
  return to === index ? [] : [{ ...a, index, to }];
}

function sameCell(a: CellOperation, b: CellOperation, later: boolean): Change {
  if (a.op === 'add' && b.op === 'add') {
    // Both undid one removal. The earlier cell stands, so that the later author's next operations
    // find the cell that everyone has.
    return later ? [] : [{ op: 'remove', path: a.path, index: b.index }, a];
  }
  if (b.op === 'move' && a.op !== 'move') {
    // An add meets a move as the inverse of a pending removal: undo puts the cell where the other
    // has moved it.
    return [{ ...a, index: b.to }];
  }
  if (b.op === 'move' && a.op === 'move' && later) {
    return a.to === b.to ? [] : [{ ...a, index: b.to }];
  }
  return [];
}

/** The gap into which an operation puts a cell. */
function gapOf(operation: CellOperation): number | null {
  if (operation.op === 'remove') {
    return null;
  }
  return operation.op === 'add' ? operation.index : (operation as MoveOperation).to;
}

/** Where the cell at `index` is after another was taken out at `taken`, put at `gap`. */
function indexAfter(index: number, taken: number | null, gap: number | null): number {
  const without = taken !== null && taken < index ? index - 1 : index;
  return gap !== null && gap <= without ? without + 1 : without;
}

/** A gap, counted in the list without the cell at `index`. */
function without(gap: number, index: number): number {
  return index < gap ? gap - 1 : gap;
}

/**
 * Gap a after b. Both gaps are first counted in the list without either moved cell: only there do
 * both sides see the same numbers, whichever comes first.
 */
function gapAfter(
  gapA: number,
  takenA: number | null,
  gapB: number | null,
  takenB: number | null,
  later: boolean
): number {
  const a =
    takenB === null
      ? gapA
      : without(gapA, takenA === null ? takenB : indexAfter(takenB, takenA, null));
  if (gapB === null) {
    return a;
  }
  const b =
    takenA === null
      ? gapB
      : without(gapB, takenB === null ? takenA : indexAfter(takenA, takenB, null));
  return b < a || (b === a && !later) ? a + 1 : a;
}

// Changes.

/**
 * Both changes, each rewritten to apply after the other: `[a over b, b over a]`. Every operation of
 * one against every operation of the other, in their orders (the grid).
 */
export function transformChanges(a: Change, b: Change, { later }: Role): [Change, Change] {
  const [one, other] = [a[0], b[0]];
  if (a.length === 1 && b.length === 1 && one !== undefined && other !== undefined) {
    return [transform(one, other, { later }), transform(other, one, { later: !later })];
  }
  const overB: Change = [];
  let rest = b;
  for (const operation of a) {
    let crossing: Change = [operation];
    const after: Change = [];
    for (const another of rest) {
      if (crossing.length === 0) {
        after.push(another);
        continue;
      }
      const [crossed, anotherAfter] = transformChanges(crossing, [another], { later });
      crossing = crossed;
      append(after, anotherAfter);
    }
    append(overB, crossing);
    rest = after;
  }
  return [overB, rest];
}

/** `a` over `b` where nobody needs `b` over `a`. */
export function transformChange(a: Change, b: Change, { later }: Role): Change {
  return transformChanges(a, b, { later })[0];
}
