/**
 * Large outputs: kept beside the document, referred to by what is in them.
 *
 * An output may have the key `blobs`: `{field: {hash, size, type}}`, where the field is `text` of a
 * stream, `traceback` of an error, or a media type in `data`. Of a text and a traceback an excerpt
 * stays in the output; a media type is left out of `data`. The content is the text in UTF-8, or the
 * JSON of a traceback and of a value whose media type is JSON; `size` counts its bytes.
 */

import { type Json, type JsonObject, get, has, isObject } from './values.js';

export const BLOB_HASH = /^[0-9a-f]{32}$/;
const JSON_TYPE = /^application\/(.*\+)?json$/;

/** What an output says of a part of it that is kept beside the document. */
export interface BlobReference {
  hash: string;
  /** Bytes. */
  size: number;
  /** Media type of the content. */
  type: string;
}

/** The output's references that are as they must be, by field. */
export function referencesOf(output: Json): Map<string, BlobReference> {
  const found = new Map<string, BlobReference>();
  const blobs = isObject(output) ? get(output, 'blobs') : undefined;
  if (isObject(output) && isObject(blobs) && canRefer(output)) {
    for (const [field, reference] of Object.entries(blobs)) {
      if (referenceFits(output, field, reference)) {
        found.set(field, reference as unknown as BlobReference);
      }
    }
  }
  return found;
}

/** Whether the output may refer to this for that field. */
export function referenceFits(output: JsonObject, field: string, reference: Json): boolean {
  if (!isObject(reference) || Object.keys(reference).length !== 3) {
    return false;
  }
  const { hash, size, type } = reference;
  return (
    typeof type === 'string' &&
    type === typeOf(output, field) &&
    typeof hash === 'string' &&
    BLOB_HASH.test(hash) &&
    Number.isInteger(size) &&
    (size as number) >= 0
  );
}

/**
 * The output in full, without `blobs`. `contents` has the texts by hash; what is missing there is
 * left as an excerpt, or told in `text/plain` if there is none.
 */
export function attach(output: Json, contents: ReadonlyMap<string, string>): Json {
  if (!isObject(output) || !has(output, 'blobs')) {
    return output;
  }
  const references = referencesOf(output);
  const full: JsonObject = { ...output };
  delete full['blobs'];
  for (const [field, { hash, size, type }] of references) {
    const value = valueOf(contents.get(hash), type);
    if (full['output_type'] === 'stream') {
      full['text'] = typeof value === 'string' ? value : (full['text'] ?? '');
    } else if (full['output_type'] === 'error') {
      full['traceback'] = isLines(value) ? value : (full['traceback'] ?? []);
    } else {
      const data = full['data'] as JsonObject;
      const lost = `[${field}, ${size.toLocaleString('en-US')} bytes: it is kept no more]`;
      full['data'] =
        value === undefined ? { 'text/plain': lost, ...data } : { ...data, [field]: value };
    }
  }
  return full;
}

function canRefer(output: JsonObject): boolean {
  switch (get(output, 'output_type')) {
    case 'stream':
      return typeof get(output, 'text') === 'string';
    case 'error':
      return isLines(get(output, 'traceback'));
    case 'display_data':
    case 'execute_result':
      return isObject(get(output, 'data'));
    default:
      return false;
  }
}

/** The type of a field's content; null if the output has no such field. */
function typeOf(output: JsonObject, field: string): string | null {
  switch (get(output, 'output_type')) {
    case 'stream':
      return field === 'text' ? 'text/plain' : null;
    case 'error':
      return field === 'traceback' ? 'application/json' : null;
    case 'display_data':
    case 'execute_result':
      return field;
    default:
      return null;
  }
}

/** The value that has this content; undefined if it is not known, or is another's. */
function valueOf(content: string | undefined, type: string): Json | undefined {
  if (content === undefined || !JSON_TYPE.test(type)) {
    return content;
  }
  try {
    return JSON.parse(content) as Json;
  } catch {
    return undefined;
  }
}

function isLines(value: Json | undefined): value is string[] {
  return Array.isArray(value) && value.every(line => typeof line === 'string');
}
