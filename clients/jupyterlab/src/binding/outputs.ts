/**
 * Outputs, written so that JupyterLab's output area can show them. It appends whatever is inserted,
 * edits only the text of its last output, joins streams of one name that follow each other, and does
 * not forget the name of a stream that is taken from its end.
 */

import { equal, isObject, type Json, type JsonObject } from 'ot-jupyter-core';
import * as Y from 'yjs';

type YOutputs = Y.Array<unknown>;

/** What is done to the list in one transaction of its own. */
export type Phase = (youtputs: YOutputs) => void;

/** What the list has. */
export function outputsIn(youtputs: YOutputs): Json[] {
  return youtputs.toJSON() as Json[];
}

/** The outputs as they are in Yjs. */
export function yOutputs(outputs: readonly Json[]): unknown[] {
  return outputs.map(output => {
    const ymap = new Y.Map<unknown>();
    for (const [key, value] of Object.entries(output as JsonObject)) {
      const streamed = key === 'text' && streamName(output) !== null;
      ymap.set(key, streamed ? new Y.Text(String(value)) : value);
    }
    return ymap;
  });
}

/** Whether two outputs look the same. JupyterLab writes some with keys that say nothing. */
export function same(a: Json | undefined, b: Json | undefined): boolean {
  return a === b || equal(significant(a), significant(b));
}

function significant(output: Json | undefined): Json {
  if (!isObject(output)) {
    return output ?? null;
  }
  const { transient: _transient, ...rest } = output;
  return 'data' in rest && !('metadata' in rest) ? { ...rest, metadata: {} } : rest;
}

/**
 * What the list says of the outputs that `shown` stands for: those that were taken away are gone.
 * Null if it has others: they are none of the user's.
 */
export function keptOutputs(
  now: readonly Json[],
  shown: readonly Json[],
  outputs: Json[]
): Json[] | null {
  let at = 0;
  const kept = outputs.filter((_, index) => {
    const stays = at < now.length && same(now[at], shown[index]);
    at += stays ? 1 : 0;
    return stays;
  });
  if (at < now.length) {
    return null;
  }
  return kept.length === outputs.length ? outputs : kept;
}

/** What makes the list that has `now` show `wanted`. */
export function phases(now: readonly Json[], wanted: readonly Json[]): Phase[] {
  let kept = 0;
  while (kept < now.length && kept < wanted.length && same(now[kept], wanted[kept])) {
    kept += 1;
  }
  const more = wanted.slice(kept);
  if (kept === now.length) {
    return joins(now.at(-1), more[0]) ? anew(wanted) : appending(more);
  }
  const [last, next] = [now[kept], wanted[kept]];
  if (kept === now.length - 1 && grows(last, next) && !joins(next, wanted[kept + 1])) {
    const [old, text] = [textOf(last), textOf(next)];
    const blobs = (next as JsonObject)['blobs'];
    return [...streaming(kept, old, text, blobs), ...appending(wanted.slice(kept + 1))];
  }
  if (kept > 0 && streamName(now.at(-1)) === null && !joins(now[kept - 1], more[0])) {
    return [list => list.delete(kept, list.length - kept), ...appending(more)];
  }
  return anew(wanted);
}

function anew(wanted: readonly Json[]): Phase[] {
  return [list => list.delete(0, list.length), ...appending(wanted)];
}

function appending(outputs: readonly Json[]): Phase[] {
  return outputs.length === 0 ? [] : [list => list.push(yOutputs(outputs))];
}

/** Take off the end of a text what is another now, then write the new end. */
function streaming(index: number, old: string, text: string, blobs: Json | undefined): Phase[] {
  const start = commonStart(old, text);
  const ytextOf = (list: YOutputs): Y.Text =>
    (list.get(index) as Y.Map<Y.Text>).get('text') as Y.Text;
  const steps: Phase[] = [];
  if (start < old.length) {
    steps.push(list => ytextOf(list).delete(start, old.length - start));
  }
  if (start < text.length) {
    steps.push(list => ytextOf(list).insert(start, text.slice(start)));
  }
  const refer: Phase = list => {
    const ymap = list.get(index) as Y.Map<unknown>;
    if (blobs === undefined) {
      ymap.delete('blobs');
    } else {
      ymap.set('blobs', blobs);
    }
  };
  return [...steps, refer];
}

function commonStart(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) {
    at += 1;
  }
  const code = a.charCodeAt(at - 1);
  return code >= 0xd800 && code <= 0xdbff ? at - 1 : at; // no pair is cut
}

/** The name of a stream; null if it is none. */
function streamName(output: Json | undefined): Json {
  const streams = isObject(output) && output['output_type'] === 'stream';
  return streams ? (output['name'] ?? '') : null;
}

function textOf(output: Json | undefined): string {
  return isObject(output) ? String(output['text']) : '';
}

function joins(before: Json | undefined, after: Json | undefined): boolean {
  return streamName(before) !== null && streamName(before) === streamName(after);
}

/** Whether only the text of a stream is another, one that the output area shows as it is. */
function grows(before: Json | undefined, after: Json | undefined): boolean {
  if (!joins(before, after)) {
    return false;
  }
  const bare = (output: Json | undefined): Json => {
    const { text: _text, blobs: _blobs, ...rest } = output as JsonObject;
    return rest;
  };
  const plain = (text: string): boolean => !/[\r\b]/.test(text);
  return plain(textOf(before)) && plain(textOf(after)) && equal(bare(before), bare(after));
}
