/**
 * Edits of a sequence: a text, or a list of outputs.
 *
 * A delta is a list of parts that walk over the old sequence: `12` retains twelve elements, `"abc"`
 * (or `[item, …]`) inserts, `-2` deletes two. What is left at the end is retained. Elements of a text
 * are code points. In a list of outputs a part may also be `{text: delta}`: it stands for one item,
 * which stays and whose `text` is edited.
 *
 * Deltas are canonical: no empty part, no two adjacent parts of a kind (edits of items apart), an
 * insert before a delete at one place, no retain at the end. Equal effects in other forms would break
 * ties differently, so other forms are refused, and every function here returns canonical ones.
 *
 * The algorithms are those of the ot-text family (ShareDB's text type, Quill's Delta).
 */

import { append } from './lists.js';
import { slicePoints, pointLength, Walker } from './units.js';
import {
  type Delta,
  type ItemEdit,
  type Json,
  type JsonObject,
  type Part,
  Refused,
  get,
  has,
  isObject,
  within
} from './values.js';

type Insert = string | Json[];
export type Sequence = string | Json[];

function isInsert(part: Part | undefined): part is Insert {
  return typeof part === 'string' || Array.isArray(part);
}

function isEdit(part: Part | undefined): part is ItemEdit {
  return typeof part === 'object' && !Array.isArray(part);
}

function joined(a: Insert, b: Insert): Insert {
  return typeof a === 'string' ? a + (b as string) : [...a, ...(b as Json[])];
}

/** How many elements an insert brings. */
function lengthOf(insert: Insert): number {
  return typeof insert === 'string' ? pointLength(insert) : insert.length;
}

function sliced(insert: Insert, start: number, end?: number): Insert {
  return typeof insert === 'string' ? slicePoints(insert, start, end) : insert.slice(start, end);
}

/** Append a part, keeping the delta canonical but for a retain at the end. */
function push(delta: Delta, part: Part): void {
  if (part === 0 || (isInsert(part) && part.length === 0)) {
    return;
  }
  const end = delta.length - 1;
  const last = delta[end];
  if (last === undefined || isEdit(part)) {
    delta.push(part);
  } else if (typeof part === 'number') {
    if (typeof last === 'number' && part > 0 === last > 0) {
      delta[end] = last + part;
    } else {
      delta.push(part);
    }
  } else if (isInsert(last)) {
    delta[end] = joined(last, part);
  } else if (isEdit(last) || last > 0) {
    delta.push(part);
  } else {
    const before = delta[end - 1];
    if (isInsert(before)) {
      delta[end - 1] = joined(before, part);
    } else {
      delta.splice(end, 0, part);
    }
  }
}

/** Append the edit of one item's text; one without effect retains the item. */
function pushEdit(delta: Delta, text: Delta): void {
  push(delta, text.length > 0 ? { text } : 1);
}

/** Drop the retain at the end. */
function trim(delta: Delta): Delta {
  const last = delta[delta.length - 1];
  if (typeof last === 'number' && last > 0) {
    delta.pop();
  }
  return delta;
}

/** The canonical delta with the same effect. */
export function canonical(delta: Delta): Delta {
  const result: Delta = [];
  for (const part of delta) {
    if (isEdit(part)) {
      pushEdit(result, canonical(part.text));
    } else {
      push(result, part);
    }
  }
  return trim(result);
}

/**
 * Throw {@link Refused} unless this is a canonical delta whose inserts are texts, or lists. Only a
 * delta of lists may edit items. The texts themselves are checked elsewhere.
 */
export function checkDelta(delta: unknown, insert: 'text' | 'list'): void {
  if (!Array.isArray(delta)) {
    throw new Refused('wrong_type', 'a delta is a list of retains, inserts and deletes');
  }
  if (delta.length === 0) {
    throw new Refused('no_effect', 'an edit has at least one insert or delete');
  }
  let before = '';
  delta.forEach((part: unknown, index) => {
    const kind = kindOf(part, insert, `/${index}`);
    if (kind === before && kind !== 'edit') {
      throw new Refused('not_canonical', `two ${kind} parts stand side by side`, `/${index}`);
    }
    if (kind === 'insert' && before === 'delete') {
      throw new Refused('not_canonical', 'an insert stands before a delete', `/${index}`);
    }
    before = kind;
  });
  if (before === 'retain') {
    const where = `/${delta.length - 1}`;
    throw new Refused('not_canonical', 'a delta does not end with a retain', where);
  }
}

function kindOf(part: unknown, insert: 'text' | 'list', where: string): string {
  if (Number.isInteger(part)) {
    if (part === 0) {
      throw new Refused('not_canonical', 'a delta has no 0', where);
    }
    return (part as number) > 0 ? 'retain' : 'delete';
  }
  if (insert === 'text' ? typeof part === 'string' : Array.isArray(part)) {
    if ((part as Insert).length === 0) {
      throw new Refused('not_canonical', 'a delta has no empty insert', where);
    }
    return 'insert';
  }
  if (insert === 'list' && isObject(part)) {
    if (Object.keys(part).length !== 1 || !has(part, 'text')) {
      throw new Refused('wrong_type', "the edit of an item has 'text' and nothing else", where);
    }
    within(where + '/text', () => checkDelta(part['text'], 'text'));
    return 'edit';
  }
  const expected = insert === 'text' ? 'or text' : 'a list of outputs or the edit of one';
  throw new Refused('wrong_type', `a part is an integer, ${expected}`, where);
}

/**
 * The sequence after the edit. Throws {@link Refused} where the delta reaches beyond it, or edits
 * the text of an item that has none. Items are copied, never written into.
 */
export function applyDelta<S extends Sequence>(sequence: S, delta: Delta): S {
  return (
    typeof sequence === 'string' ? applyToText(sequence, delta) : applyToList(sequence, delta)
  ) as S;
}

function applyToText(text: string, delta: Delta): string {
  const walker = new Walker(text);
  let result = '';
  for (const part of delta) {
    if (typeof part === 'string') {
      result += part;
    } else {
      const passed = walker.take(Math.abs(part as number));
      result += (part as number) > 0 ? passed : '';
    }
  }
  if (walker.beyond) {
    throw beyond(reachOf(delta), pointLength(text));
  }
  return result + walker.rest();
}

function applyToList(list: Json[], delta: Delta): Json[] {
  const result: Json[] = [];
  let at = 0;
  delta.forEach((part, index) => {
    if (isEdit(part)) {
      const item = list[at];
      if (item !== undefined) {
        result.push(within(`/${index}/text`, () => edited(item, part.text)));
      }
      at += 1;
    } else if (isInsert(part)) {
      append(result, part as Json[]);
    } else {
      if (part > 0) {
        append(result, list.slice(at, at + part));
      }
      at += Math.abs(part);
    }
  });
  if (at > list.length) {
    throw beyond(at, list.length);
  }
  append(result, list.slice(at));
  return result;
}

function beyond(reach: number, length: number): Refused {
  return new Refused('out_of_range', `the edit reaches ${reach}, the length is ${length}`);
}

/** How many elements of the old sequence a delta names. */
function reachOf(delta: Delta): number {
  return delta.reduce<number>(
    (sum, part) => sum + (typeof part === 'number' ? Math.abs(part) : 0),
    0
  );
}

/** The item with its text edited. */
function edited(item: Json, text: Delta): Json {
  const old = isObject(item) ? get(item, 'text') : undefined;
  if (typeof old !== 'string') {
    throw new Refused('not_found', 'the item has no text');
  }
  return { ...(item as JsonObject), text: applyToText(old, text) };
}

/**
 * `a`, rewritten to apply after `b`; both were made for the same sequence.
 *
 * `later`: `a` was committed after `b`. Where both insert at one place the later one goes left, so
 * that two people who type at one spot leave two whole runs (see `position`).
 */
export function transformDelta(a: Delta, b: Delta, later: boolean): Delta {
  const result: Delta = [];
  const others = new Parts(b);
  for (const part of a) {
    if (isEdit(part)) {
      transformEdit(result, part, others, later);
    } else if (isInsert(part)) {
      // An insert of b at this very place comes first.
      if (!later && isInsert(others.left)) {
        push(result, lengthOf(others.left));
        others.next();
      }
      push(result, part);
    } else {
      transformSteps(result, part, others);
    }
  }
  return trim(result);
}

/** What is left of a delta, part by part; a retain without end after the last one. */
class Parts {
  private index = 0;
  left: Part | undefined;

  constructor(private readonly delta: Delta) {
    this.left = delta[0];
  }

  next(): void {
    this.index += 1;
    this.left = this.delta[this.index];
  }

  /** Go on by so many elements of the retain or delete that is left. */
  step(length: number): void {
    const left = this.left as number;
    this.left = left > 0 ? left - length : left + length;
    if (this.left === 0) {
      this.next();
    }
  }
}

/** Append a retain or a delete, rewritten. */
function transformSteps(result: Delta, part: number, others: Parts): void {
  let left = Math.abs(part);
  const sign = Math.sign(part);
  while (left > 0) {
    if (isEdit(others.left)) {
      others.left = 1; // to a retain or a delete it is a retain of one
    }
    const other = others.left;
    if (other === undefined) {
      push(result, sign * left);
      return;
    }
    if (isInsert(other)) {
      push(result, lengthOf(other));
      others.next();
      continue;
    }
    const step = Math.min(left, Math.abs(other as number));
    if ((other as number) > 0) {
      push(result, sign * step);
    }
    left -= step;
    others.step(step);
  }
}

/** Append the edit of an item, rewritten. */
function transformEdit(result: Delta, edit: ItemEdit, others: Parts, later: boolean): void {
  while (isInsert(others.left)) {
    push(result, lengthOf(others.left));
    others.next();
  }
  const other = others.left;
  if (other === undefined) {
    push(result, edit);
  } else if (isEdit(other)) {
    pushEdit(result, transformDelta(edit.text, other.text, later));
    others.next();
  } else {
    if ((other as number) > 0) {
      push(result, edit);
    }
    others.step(1);
  }
}

/** Reads a delta in pieces: the other delta's parts decide how long each piece is. */
class Reader {
  private index = 0;
  offset = 0;

  constructor(private readonly delta: Delta) {}

  /** The whole part that is being read; a retain without end after the last one. */
  peek(): Part | undefined {
    return this.delta[this.index];
  }

  /** How much of the present part is left; Infinity: no end. */
  left(): number {
    const part = this.peek();
    return part === undefined ? Infinity : sizeOf(part) - this.offset;
  }

  /** Go on by that much of the present part. */
  take(length: number): void {
    const part = this.peek();
    if (part === undefined) {
      return;
    }
    this.offset += length;
    if (this.offset === sizeOf(part)) {
      this.index += 1;
      this.offset = 0;
    }
  }
}

/** How many elements a part stands for. */
function sizeOf(part: Part): number {
  if (typeof part === 'number') {
    return Math.abs(part);
  }
  return isInsert(part) ? lengthOf(part) : 1;
}

/** The one delta that does `a` and then `b`. */
export function composeDelta(a: Delta, b: Delta): Delta {
  const result: Delta = [];
  const reader = new Reader(a);
  for (const part of b) {
    if (isEdit(part)) {
      composeEdit(result, reader, part.text);
    } else if (isInsert(part)) {
      // b's insert comes before what a inserts here, but after what a deleted before it.
      push(result, part);
    } else {
      composeSteps(result, reader, part);
    }
  }
  for (let other = reader.peek(); other !== undefined; other = reader.peek()) {
    const left = reader.left();
    if (typeof other === 'number') {
      push(result, other > 0 ? left : -left);
    } else {
      push(result, isEdit(other) ? other : sliced(other, reader.offset));
    }
    reader.take(left);
  }
  return trim(result);
}

function passDeletes(result: Delta, reader: Reader): void {
  for (let other = reader.peek(); typeof other === 'number' && other < 0; other = reader.peek()) {
    const left = reader.left();
    push(result, -left);
    reader.take(left);
  }
}

/** Append what comes of a retain or a delete of what the reader reads. */
function composeSteps(result: Delta, reader: Reader, part: number): void {
  let length = Math.abs(part);
  while (length > 0) {
    passDeletes(result, reader);
    const other = reader.peek();
    const step = Math.min(length, reader.left());
    if (other === undefined || typeof other === 'number') {
      push(result, part > 0 ? step : -step);
    } else if (isEdit(other)) {
      push(result, part > 0 ? other : -1);
    } else if (part > 0) {
      push(result, sliced(other, reader.offset, reader.offset + step));
    }
    reader.take(step);
    length -= step;
  }
}

/** Append what comes of the next item, when its text is then edited. */
function composeEdit(result: Delta, reader: Reader, text: Delta): void {
  passDeletes(result, reader);
  const other = reader.peek();
  if (other === undefined || typeof other === 'number') {
    push(result, { text });
  } else if (isEdit(other)) {
    pushEdit(result, composeDelta(other.text, text));
  } else {
    const item = (other as Json[])[reader.offset];
    push(result, [edited(item ?? null, text)]);
  }
  reader.take(1);
}

/** The delta that takes `delta` back; `sequence` is the one before it. */
export function invertDelta(sequence: Sequence, delta: Delta): Delta {
  return typeof sequence === 'string' ? invertText(sequence, delta) : invertList(sequence, delta);
}

function invertText(text: string, delta: Delta): Delta {
  const result: Delta = [];
  const walker = new Walker(text);
  for (const part of delta) {
    if (typeof part === 'string') {
      push(result, -pointLength(part));
    } else {
      const passed = walker.take(Math.abs(part as number));
      push(result, (part as number) > 0 ? part : passed);
    }
  }
  return trim(result);
}

function invertList(list: Json[], delta: Delta): Delta {
  const result: Delta = [];
  let at = 0;
  for (const part of delta) {
    if (isEdit(part)) {
      const old = list[at] as JsonObject;
      push(result, { text: invertText(old['text'] as string, part.text) });
      at += 1;
    } else if (isInsert(part)) {
      push(result, -part.length);
    } else if (part > 0) {
      push(result, part);
      at += part;
    } else {
      push(result, list.slice(at, at - part));
      at -= part;
    }
  }
  return trim(result);
}

/**
 * Where a caret before element `offset` stands after the edit. It stays left of what is inserted at
 * its very place. With "the later insert goes left" this is one decision: one's own caret follows
 * one's own letters (the editor moves it), and a foreign run begins right of it.
 */
export function positionInDelta(offset: number, delta: Delta): number {
  let at = 0; // in the old sequence
  let result = offset;
  for (const part of delta) {
    if (at >= offset) {
      break;
    }
    if (isEdit(part)) {
      at += 1;
    } else if (isInsert(part)) {
      result += lengthOf(part);
    } else if (part > 0) {
      at += part;
    } else {
      result -= Math.min(-part, offset - at);
      at -= part;
    }
  }
  return result;
}
