/**
 * JSON Pointers (RFC 6901) as lists of decoded segments.
 *
 * Paths are compared as segments, never as texts: `/metadata/a` is no ancestor of `/metadata/ab`.
 */

import { Refused } from './values.js';

export type Segments = readonly string[];

const BAD_ESCAPE = /~(?![01])/;
const MOST_KNOWN = 16384;
const known = new Map<string, Segments>();

/**
 * The decoded segments of a pointer; `""` is the root and has none. Throws {@link Refused} where
 * `~` is not followed by 0 or 1, or the text does not start with a slash.
 */
export function segments(path: string): Segments {
  const found = known.get(path);
  if (found !== undefined) {
    return found;
  }
  if (path !== '' && !path.startsWith('/')) {
    throw new Refused('bad_pointer', "a path is empty or starts with '/'");
  }
  if (BAD_ESCAPE.test(path)) {
    throw new Refused('bad_pointer', "'~' stands only in '~0' (for '~') and '~1' (for '/')");
  }
  const parts = path === '' ? [] : path.slice(1).split('/');
  const decoded = path.includes('~')
    ? parts.map(part => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    : parts;
  if (known.size >= MOST_KNOWN) {
    known.clear();
  }
  known.set(path, decoded);
  return decoded;
}

/** The pointer with these segments: `pointer("cells", "a/b")` is `/cells/a~1b`. */
export function pointer(...parts: readonly (string | number)[]): string {
  return parts.map(part => '/' + String(part).replaceAll('~', '~0').replaceAll('/', '~1')).join('');
}

/** Whether a list of segments begins with another. */
export function startsWith(where: Segments, beginning: Segments): boolean {
  return beginning.length <= where.length && beginning.every((one, at) => where[at] === one);
}

/** The segment at an index. Throws {@link Refused} if there is none. */
export function segment(where: Segments, index: number): string {
  const found = where[index];
  if (found === undefined) {
    throw new Refused('bad_pointer', 'the path is too short');
  }
  return found;
}
