/**
 * Code points and UTF-16 units.
 *
 * Operations count code points; a string of JavaScript counts UTF-16 units, of which an emoji has
 * two. Most texts have no such pairs, and nothing is converted then. Half of a pair counts as a code
 * point of its own, as in Python.
 */

const SURROGATES = /[\ud800-\udfff]/;

/** Whether a text may have fewer code points than UTF-16 units. */
export function hasPairs(text: string): boolean {
  return SURROGATES.test(text);
}

function isPair(text: string, unit: number): boolean {
  const high = text.charCodeAt(unit);
  if (high < 0xd800 || high > 0xdbff) {
    return false;
  }
  const low = text.charCodeAt(unit + 1);
  return low >= 0xdc00 && low <= 0xdfff;
}

/** Whether a UTF-16 unit is the second one of a pair. */
export function splitsPair(text: string, unit: number): boolean {
  return unit > 0 && isPair(text, unit - 1);
}

/** The number of code points of a text. */
export function pointLength(text: string): number {
  return hasPairs(text) ? toPoints(text, text.length) : text.length;
}

/** The code points before a UTF-16 unit; in the midst of a pair: with its first half's. */
export function toPoints(text: string, unit: number): number {
  if (!hasPairs(text)) {
    return unit;
  }
  let points = 0;
  const end = Math.min(unit, text.length);
  for (let at = 0; at < end; at += isPair(text, at) ? 2 : 1) {
    points += 1;
  }
  return points + Math.max(0, unit - text.length);
}

/** The UTF-16 units before a code point; beyond the end, as many units beyond. */
export function toUnits(text: string, point: number): number {
  return hasPairs(text) ? unitsFrom(text, 0, point) : point;
}

/** The UTF-16 unit that is `points` code points behind another one, in a text that has pairs. */
function unitsFrom(text: string, unit: number, points: number): number {
  let at = unit;
  let left = points;
  while (left > 0 && at < text.length) {
    at += isPair(text, at) ? 2 : 1;
    left -= 1;
  }
  return at + left;
}

/** Walks forward over a text in steps of code points. */
export class Walker {
  /** UTF-16 units before the place reached. It may lie beyond the end. */
  unit = 0;
  private readonly pairs: boolean;

  constructor(private readonly text: string) {
    this.pairs = hasPairs(text);
  }

  /** Go on by so many code points, and return what was passed. */
  take(points: number): string {
    const from = this.unit;
    this.unit = this.pairs ? unitsFrom(this.text, from, points) : from + points;
    return this.text.slice(from, this.unit);
  }

  /** What has not been passed yet. */
  rest(): string {
    return this.text.slice(this.unit);
  }

  /** Whether the place reached is beyond the end. */
  get beyond(): boolean {
    return this.unit > this.text.length;
  }
}

/** Part of a text, in code points. */
export function slicePoints(text: string, start: number, end?: number): string {
  if (!hasPairs(text)) {
    return text.slice(start, end);
  }
  const from = toUnits(text, start);
  return text.slice(from, end === undefined ? undefined : toUnits(text, end));
}

/** Whether a text is well-formed: every half of a pair stands with its other half. */
export function isWellFormed(text: string): boolean {
  if (!hasPairs(text)) {
    return true;
  }
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit >= 0xd800 && unit <= 0xdfff) {
      if (!isPair(text, at)) {
        return false;
      }
      at += 1;
    }
  }
  return true;
}
