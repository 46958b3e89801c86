/**
 * What was changed between two texts.
 *
 * They are compared in levels, coarse to fine: lines, lines but for their indentation, lines that are
 * similar, words, characters. Each level looks only into what the one above found replaced.
 */

import { canonical } from './delta.js';
import { append } from './lists.js';
import {
  type Gap,
  type Match,
  type Pair,
  REACH,
  aligned,
  byPlace,
  gaps,
  joined,
  match
} from './match.js';
import { Packing } from './packing.js';
import { hasPairs, pointLength, splitsPair } from './units.js';
import type { Delta } from './values.js';

/** Finds matches in two texts, of which neither is empty. */
type Level = (a: string, b: string) => Match[];

// A word, blanks, or one character. Ideographs and emoji (from U+2E80 on) stand alone.
const TOKEN = /[0-9A-Za-z_\u0080-\u1fff\u2c00-\u2dff]+|[ \t]+|[^0-9A-Za-z_ \t]/g;
const SURROGATE = /[\ud800-\udfff]/g;
const WORDY = /[0-9A-Za-z_\u0080-\uffff]/;
const BLANKS = /^[ \t\r\n]+|[ \t\r\n]+$/g;

/**
 * The canonical delta between two texts, in code points; `[]` if they are equal. Not always the
 * shortest one: it keeps words and lines together where they belong together.
 */
export function diffText(old: string, text: string): Delta {
  if (!hasPairs(old) && !hasPairs(text)) {
    return diffUnits(old, text);
  }
  const [latest, suffix] = [commonPoints(old, text), commonSuffix(old, text)];
  if (latest + suffix >= Math.min(old.length, text.length)) {
    return cutsPair(old, text, latest) ? diffPacked(old, text) : onePiece(old, text, latest);
  }
  // Only the lines between the equal ones are looked at: a key press in a long text is no work.
  const start = lineStart(old, latest);
  const end = equalLines(old, suffix);
  const between = (of: string): string => of.slice(start, of.length - end);
  const found = diffPacked(between(old), between(text));
  return canonical([pointLength(old.slice(0, start)), ...found]);
}

function diffPacked(old: string, text: string): Delta {
  const packing = new Packing(old + text);
  if (packing.full) {
    return canonical([text, -pointLength(old)]);
  }
  return diffUnits(packing.pack(old), packing.pack(text)).map(part =>
    typeof part === 'string' ? packing.unpack(part) : part
  );
}

/** How many units at the start are equal, without the half of a pair. */
function commonPoints(a: string, b: string): number {
  const prefix = commonPrefix(a, b);
  return splitsPair(a, prefix) || splitsPair(b, prefix) ? prefix - 1 : prefix;
}

/** How many units the whole lines have that are in so many units at the end. */
function equalLines(text: string, suffix: number): number {
  const end = text.indexOf('\n', text.length - suffix) + 1;
  return end > 0 ? text.length - end : 0;
}

/** Whether a piece that stands in one of the texts only would begin or end within a pair. */
function cutsPair(old: string, text: string, latest: number): boolean {
  const longer = text.length > old.length ? text : old;
  const size = Math.abs(text.length - old.length);
  const ends = [latest + size, lineStart(longer, latest) + size];
  return ends.some(at => splitsPair(longer, at));
}

function diffUnits(old: string, text: string): Delta {
  const limit = Math.min(old.length, text.length);
  const prefix = commonPrefix(old, text);
  let suffix = commonSuffix(old, text);
  if (prefix + suffix >= limit) {
    return onePiece(old, text, prefix);
  }
  // Whole lines: where within a line a change begins is the business of the levels below.
  const start = lineStart(old, prefix);
  const end = old.indexOf('\n', old.length - Math.min(suffix, limit - start)) + 1;
  suffix = end > 0 ? old.length - end : 0;
  const [oldEnd, newEnd] = [old.length - suffix, text.length - suffix];
  const found = inside(old, text, [start, oldEnd, start, newEnd], lines).sort(byPlace);
  const delta: Delta = [start];
  let [i, j] = [start, start];
  for (const [x, y, n] of [...found, [oldEnd, newEnd, suffix] as Match]) {
    delta.push(text.slice(j, y), i - x, n);
    [i, j] = [x + n, y + n];
  }
  return canonical(delta);
}

/** Where the line begins that a place is in. */
function lineStart(text: string, at: number): number {
  return at === 0 ? 0 : text.lastIndexOf('\n', at - 1) + 1;
}

/** The delta where one text is the other with one piece more, at the unit `latest` at the latest. */
function onePiece(old: string, text: string, latest: number): Delta {
  const grows = text.length > old.length;
  const longer = grows ? text : old;
  const size = Math.abs(text.length - old.length);
  const at = placeOfPiece(longer, size, latest);
  const piece = longer.slice(at, at + size);
  return canonical([pointLength(longer.slice(0, at)), grows ? piece : -pointLength(piece)]);
}

/** Of the places where the piece may stand, a start of a line is right for lines. */
function placeOfPiece(longer: string, size: number, latest: number): number {
  const start = lineStart(longer, latest);
  const isLines = longer.slice(latest, latest + size).includes('\n');
  const moves =
    isLines && longer.slice(start, latest) === longer.slice(start + size, latest + size);
  return moves ? start : latest;
}

/** How many units at the start are equal: halving, as comparing slices is fast. */
export function commonPrefix(a: string, b: string): number {
  let [low, high] = [0, Math.min(a.length, b.length)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (a.slice(low, middle) === b.slice(low, middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/** How many units at the end are equal. */
export function commonSuffix(a: string, b: string): number {
  let [low, high] = [0, Math.min(a.length, b.length)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    const same =
      a.slice(a.length - middle, a.length - low) === b.slice(b.length - middle, b.length - low);
    if (same) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// The levels.

function lines(old: string, text: string): Match[] {
  const [a, b] = [splitLines(old), splitLines(text)];
  return filled(old, text, inUnits(a, b, match(a, b, true)), indentedLines);
}

/** Lines that differ only in the blanks around them: code that was put into a block. */
function indentedLines(old: string, text: string): Match[] {
  const [a, b] = [splitLines(old), splitLines(text)];
  const bare = (line: string): string => line.replace(BLANKS, '');
  const pairs: Pair[] = [];
  for (const [i, j, n] of match(a.map(bare), b.map(bare), true)) {
    for (let k = 0; k < n; k += 1) {
      pairs.push([i + k, j + k]);
    }
  }
  return paired(old, text, a, b, pairs, similarLines);
}

/** Lines that have half of their words in common; words tell no more in a longer block. */
function similarLines(old: string, text: string): Match[] {
  const [a, b] = [splitLines(old), splitLines(text)];
  if (a.length > REACH || b.length > REACH) {
    return words(old, text);
  }
  const inPairs = paired(old, text, a, b, similar(a, b), words);
  if (a.length === 1 && b.length === 1) {
    return inPairs;
  }
  // Lines that were split or joined are no pairs: their words tell much more.
  const inWords = words(old, text);
  const shorter = Math.min(old.length, text.length);
  return 2 * (shorter - total(inWords)) < shorter - total(inPairs) ? inWords : inPairs;
}

function words(old: string, text: string): Match[] {
  const [a, b] = [tokens(old), tokens(text)];
  const runs = filled(old, text, inUnits(a, b, match(a, b, false)), characters);
  // A word stays even if more changes around it; a blank or a bracket is found anywhere.
  const worth = ([i, , n]: Match): number => (WORDY.test(old.slice(i, i + n)) ? 4 * n : n);
  return settled(joined(runs.sort(byPlace)), old.length, text.length, worth);
}

/** Letters, where the two are similar: in unrelated words some letters are always equal. */
function characters(old: string, text: string): Match[] {
  const both = old.length + text.length;
  const shorter = Math.min(old.length, text.length);
  const prefix = commonPrefix(old, text);
  const suffix = Math.min(commonSuffix(old, text), shorter - prefix);
  const edges: Match[] = [
    [0, 0, prefix],
    [old.length - suffix, text.length - suffix, suffix]
  ];
  if (prefix + suffix === shorter) {
    return edges;
  }
  if (4 * shorter >= both) {
    const found = match(old.split(''), text.split(''), false);
    const runs = settled(found, old.length, text.length, ([, , n]) => n);
    const common = total(runs);
    if (4 * common >= both && common >= 2 * runs.length) {
      return runs;
    }
  }
  return 4 * (prefix + suffix) >= both ? edges : [];
}

function tokens(text: string): string[] {
  return text.match(TOKEN) ?? [];
}

/** The lines with their ends; only `\n` ends a line. */
function splitLines(text: string): string[] {
  const parts = text.split('\n');
  const last = parts.pop() as string;
  const ended = parts.map(part => part + '\n');
  return last === '' ? ended : [...ended, last];
}

/** Matches of tokens as matches of the texts. */
function inUnits(a: string[], b: string[], runs: readonly Match[]): Match[] {
  const [atA, atB] = [offsets(a), offsets(b)];
  return runs.map(([i, j, n]): Match => {
    const start = atA[i] as number;
    return [start, atB[j] as number, (atA[i + n] as number) - start];
  });
}

function offsets(parts: readonly string[]): number[] {
  const found = [0];
  let at = 0;
  for (const part of parts) {
    at += part.length;
    found.push(at);
  }
  return found;
}

/** The matches, and those that the level finds between them. */
function filled(old: string, text: string, runs: Match[], level: Level): Match[] {
  const between = gaps(runs, old.length, text.length);
  return [...runs, ...between.flatMap(gap => inside(old, text, gap, level))];
}

/** The matches in pairs of lines, word by word, and those that the level finds between. */
function paired(
  old: string,
  text: string,
  a: string[],
  b: string[],
  pairs: readonly Pair[],
  level: Level
): Match[] {
  const atA = offsets(a);
  const atB = offsets(b);
  const found: Match[] = [];
  const look = (i: number, iEnd: number, j: number, jEnd: number, by: Level): void => {
    const gap = [atA[i], atA[iEnd], atB[j], atB[jEnd]] as unknown as Gap;
    append(found, inside(old, text, gap, by));
  };
  let [i, j] = [0, 0];
  for (const [x, y] of pairs) {
    look(i, x, j, y, level);
    [i, j] = [x + 1, y + 1];
    look(x, i, y, j, words);
  }
  look(i, a.length, j, b.length, level);
  return found;
}

/** How many units match. */
function total(runs: readonly Match[]): number {
  return runs.reduce((sum, [, , n]) => sum + n, 0);
}

/** The matches that the level finds in a part. */
function inside(old: string, text: string, gap: Gap, level: Level): Match[] {
  const [i, iEnd, j, jEnd] = gap;
  if (i === iEnd || j === jEnd) {
    return [];
  }
  const found = level(old.slice(i, iEnd), text.slice(j, jEnd));
  return found.map(([x, y, n]): Match => [i + x, j + y, n]);
}

/**
 * The matches without those worth less than what changes on either side of them: these are accidents,
 * and would leave a replaced part in shreds.
 */
function settled(runs: Match[], n: number, m: number, worth: (run: Match) => number): Match[] {
  const between = (left: Match, right: Match): number =>
    Math.max(right[0] - left[0] - left[2], right[1] - left[1] - left[2]);
  const kept: Match[] = [[0, 0, 0]];
  for (const run of [...runs, [n, m, 0] as Match]) {
    // One that goes widens the gap behind the one before it.
    while (kept.length > 1) {
      const [before, last] = kept.slice(-2) as [Match, Match];
      if (worth(last) >= Math.min(between(before, last), between(last, run))) {
        break;
      }
      kept.pop();
    }
    kept.push(run);
  }
  return kept.slice(1, -1);
}

// Similarity.

/**
 * Pairs of texts that have at least half of their words in common, in order, so that they have as
 * much in common as possible. Only texts near each other are compared.
 */
export function similar(a: readonly string[], b: readonly string[]): Pair[] {
  if ([...a, ...b].some(hasPairs)) {
    const packing = new Packing([...a, ...b].join('\n'));
    const pack = (text: string): string => packing.pack(text).replace(SURROGATE, '');
    return similar(a.map(pack), b.map(pack));
  }
  const [bagsA, bagsB] = [a.map(bagOf), b.map(bagOf)];
  const [sizesA, sizesB] = [bagsA.map(sizeOf), bagsB.map(sizeOf)];

  /** In thousandths; 0: not similar. */
  const score = (i: number, j: number): number => {
    const [one, other] = [sizesA[i] as number, sizesB[j] as number];
    const both = one + other;
    if (both === 0 || 4 * Math.min(one, other) < both) {
      return 0;
    }
    const common = commonSize(bagsA[i] as Bag, bagsB[j] as Bag);
    return 4 * common >= both ? Math.floor((2000 * common) / both) : 0;
  };

  return aligned(a.length, b.length, score);
}

type Bag = ReadonlyMap<string, number>;

/** How often each word and symbol occurs. */
function bagOf(text: string): Bag {
  const bag = new Map<string, number>();
  for (const token of tokens(text)) {
    if (!/^[ \t\r\n]/.test(token)) {
      bag.set(token, (bag.get(token) ?? 0) + 1);
    }
  }
  return bag;
}

function sizeOf(bag: Bag): number {
  let size = 0;
  bag.forEach((count, token) => {
    size += token.length * count;
  });
  return size;
}

function commonSize(a: Bag, b: Bag): number {
  let size = 0;
  a.forEach((count, token) => {
    size += token.length * Math.min(count, b.get(token) ?? 0);
  });
  return size;
}
