/** Texts: those of Yjs count UTF-16 units, those of the document code points. */

import { applyDelta, diffText, toUnits, type Delta, type Operation } from 'ot-jupyter-core';
import type * as Y from 'yjs';

const NEEDS_CARE = /[\ud800-\udfff\ufffd]/;
const LONE_SURROGATES = /\p{Surrogate}/gu;

/** What a text of the view says. */
export interface ReadText {
  /** Makes the old text the new one. */
  readonly delta: Delta;
  /** Whether the view shows something else than the document then. */
  readonly wrong: boolean;
}

/**
 * What a transaction did to a text that was `old`. What was put in the place of something else is
 * told by the difference of the texts: whole sources are set where a word was changed. So it is
 * where surrogates are about, since Yjs puts U+FFFD for half a pair.
 */
export function readText(transaction: Y.Transaction, ytext: Y.Text, old: string): ReadText {
  const event = (transaction.changedParentTypes as Events)
    .get(ytext)
    ?.find(one => one.target === ytext);
  const delta = event === undefined ? null : plainDelta(event.delta as readonly YPart[]);
  if (delta !== null && !NEEDS_CARE.test(old) && applyDelta(old, delta).length === ytext.length) {
    return { delta, wrong: false };
  }
  const seen = ytext.toString();
  const text = seen.replace(LONE_SURROGATES, '\ufffd');
  return { delta: diffText(old, text), wrong: text !== seen };
}

type Events = Map<unknown, Y.YEvent<Y.Text>[]>;

interface YPart {
  readonly retain?: number;
  readonly insert?: unknown;
  readonly delete?: number;
}

/** Null if the parts do not tell it well. */
function plainDelta(parts: readonly YPart[]): Delta | null {
  const delta: Delta = [];
  for (const part of parts) {
    if (part.retain !== undefined) {
      delta.push(part.retain);
    } else if (part.delete !== undefined) {
      delta.push(-part.delete);
    } else if (typeof part.insert === 'string' && !NEEDS_CARE.test(part.insert)) {
      delta.push(part.insert);
    } else {
      return null;
    }
  }
  if (typeof delta.at(-1) === 'number' && (delta.at(-1) as number) > 0) {
    delta.pop();
  }
  const inserts = delta.some(part => typeof part === 'string');
  const deletes = delta.some(part => typeof part === 'number' && part < 0);
  return inserts && deletes ? null : delta;
}

/** Write an edit into a text that is `old`. Inserted first, the caret of the editor stays right. */
export function writeText(ytext: Y.Text, old: string, delta: Delta): void {
  let [read, unit] = [0, 0]; // code points of the old text, units of the one that grows
  const units = (points: number): number => toUnits(old, read + points) - toUnits(old, read);
  for (const part of delta) {
    if (typeof part === 'string') {
      ytext.insert(unit, part);
      unit += part.length;
    } else if (typeof part === 'number' && part > 0) {
      unit += units(part);
      read += part;
    } else if (typeof part === 'number') {
      ytext.delete(unit, units(-part));
      read -= part;
    }
  }
}

/** The same of an operation, if it is an edit. Returns the text after it. */
export function writeEdit(ytext: Y.Text, old: string, operation: Operation): string {
  if (operation.op !== 'edit') {
    return old;
  }
  writeText(ytext, old, operation.delta);
  return applyDelta(old, operation.delta);
}

/** Make a text of the view equal to one of the document. */
export function showText(ytext: Y.Text, text: string): void {
  const seen = ytext.toString();
  const known = seen.replace(LONE_SURROGATES, '\ufffd');
  if (known !== seen) {
    ytext.delete(0, seen.length);
    ytext.insert(0, text);
  } else if (seen !== text) {
    writeText(ytext, seen, diffText(seen, text));
  }
}

/** Where an edit ends, in UTF-16 units of the text after it. */
export function endOf(delta: Delta, text: string): number {
  let [point, end] = [0, 0];
  for (const part of delta) {
    if (typeof part === 'string') {
      point += [...part].length;
      end = point;
    } else if (typeof part === 'number' && part > 0) {
      point += part;
    } else {
      end = point;
    }
  }
  return toUnits(text, end);
}
