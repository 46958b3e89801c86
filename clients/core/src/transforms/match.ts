/**
 * What two sequences have in common, in order.
 *
 * Whatever the sequences are, the work grows in proportion to their length (times a logarithm): edit
 * distances, rounds and candidates are bounded, and what exceeds a bound counts as different, which
 * is correct, only coarser. The same arguments give the same answer in every language: whole numbers
 * stand in for ratios.
 */

import { append } from './lists.js';

/** `[i, j, n]`: n elements from i on in the old sequence are those from j on in the new one. */
export type Match = readonly [number, number, number];
/** Old from, old to, new from, new to. */
export type Gap = readonly [number, number, number, number];
export type Pair = readonly [number, number];

/** How far from its proportional place a similar element is looked for. */
export const REACH = 32;
const MAX_EDITS = 64; // the longest edit script that is searched for
const MAX_ROUNDS = 16; // of splitting by unique elements

/** In the order of their places. */
export function byPlace(a: Match, b: Match): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

/** What lies between the matches of sequences of these lengths, empty parts too. */
export function gaps(runs: readonly Match[], n: number, m: number): Gap[] {
  const found: Gap[] = [];
  let [i, j] = [0, 0];
  for (const [x, y, length] of runs) {
    found.push([i, x, j, y]);
    [i, j] = [x + length, y + length];
  }
  found.push([i, n, j, m]);
  return found;
}

/**
 * Matches of two sequences, in order, each as long as possible.
 *
 * Between what is equal at both ends either elements that are unique in both anchor the rest
 * (`uniqueFirst`, "patience": right for lines of code), or the shortest edit script is searched for
 * (right for words); the other way is tried where the first leads nowhere.
 */
export function match(a: readonly string[], b: readonly string[], uniqueFirst: boolean): Match[] {
  const numbers = new Map<string, number>();
  const numberOf = (token: string): number => {
    const known = numbers.get(token) ?? numbers.size;
    numbers.set(token, known);
    return known;
  };
  const [x, y] = [a.map(numberOf), b.map(numberOf)];
  const found: Match[] = [];
  const stack: { gap: Gap; rounds: number }[] = [{ gap: [0, a.length, 0, b.length], rounds: 0 }];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const [i, iEnd, j, jEnd] = equalEnds(x, y, top.gap, found);
    if (i === iEnd || j === jEnd) {
      continue;
    }
    const [left, right] = [x.slice(i, iEnd), y.slice(j, jEnd)];
    const unique = (): Pair[] => (top.rounds < MAX_ROUNDS ? uniqueInBoth(left, right) : []);
    let anchors = uniqueFirst ? unique() : [];
    if (anchors.length === 0) {
      const runs = shortestScript(left, right);
      if (runs !== null) {
        append(
          found,
          runs.map(([p, q, n]): Match => [i + p, j + q, n])
        );
        continue;
      }
      anchors = uniqueFirst ? [] : unique();
    }
    if (anchors.length === 0) {
      continue;
    }
    const steps = anchors.map(([p, q]): Match => [p, q, 1]);
    append(
      found,
      steps.map(([p, q]): Match => [i + p, j + q, 1])
    );
    for (const [p, pEnd, q, qEnd] of gaps(steps, left.length, right.length)) {
      if (p < pEnd && q < qEnd) {
        stack.push({ gap: [i + p, i + pEnd, j + q, j + qEnd], rounds: top.rounds + 1 });
      }
    }
  }
  return joined(found.sort(byPlace));
}

/** Note what is equal at both ends of a gap; returned is what lies between. */
function equalEnds(x: number[], y: number[], gap: Gap, found: Match[]): Gap {
  let [i, iEnd, j, jEnd] = gap;
  while (i < iEnd && j < jEnd && x[i] === y[j]) {
    i += 1;
    j += 1;
  }
  found.push([gap[0], gap[2], i - gap[0]]);
  while (i < iEnd && j < jEnd && x[iEnd - 1] === y[jEnd - 1]) {
    iEnd -= 1;
    jEnd -= 1;
  }
  found.push([iEnd, jEnd, gap[1] - iEnd]);
  return [i, iEnd, j, jEnd];
}

/** The same matches, adjacent ones as one. */
export function joined(runs: readonly Match[]): Match[] {
  const result: Match[] = [];
  for (const run of runs) {
    const [i, j, n] = run;
    if (n === 0) {
      continue;
    }
    const last = result[result.length - 1];
    if (last !== undefined && last[0] + last[2] === i && last[1] + last[2] === j) {
      result[result.length - 1] = [last[0], last[1], last[2] + n];
    } else {
      result.push(run);
    }
  }
  return result;
}

/** Pairs of elements that occur once in each, as many as are in one order. */
function uniqueInBoth(a: number[], b: number[]): Pair[] {
  const inB = placesOfUnique(b);
  const pairs: Pair[] = [];
  for (const [token, i] of placesOfUnique(a)) {
    const j = inB.get(token) ?? -1;
    if (i >= 0 && j >= 0) {
      pairs.push([i, j]);
    }
  }
  return longestIncreasing(pairs.map(([, j]) => j)).map(index => pairs[index] as Pair);
}

/** Where each element is; -1 if it is in several places. */
function placesOfUnique(tokens: number[]): Map<number, number> {
  const places = new Map<number, number>();
  tokens.forEach((token, index) => places.set(token, places.has(token) ? -1 : index));
  return places;
}

/** The indexes of a longest increasing subsequence of different numbers. */
export function longestIncreasing(values: readonly number[]): number[] {
  const smallest: number[] = []; // at k: the smallest last value of such a sequence of length k + 1
  const last: number[] = []; // its index
  const before: number[] = [];
  values.forEach((value, index) => {
    const k = placeOf(smallest, value);
    before.push(k > 0 ? (last[k - 1] as number) : -1);
    smallest[k] = value;
    last[k] = index;
  });
  const result: number[] = [];
  for (let index = last[last.length - 1] ?? -1; index >= 0; index = before[index] as number) {
    result.push(index);
  }
  return result.reverse();
}

/** The first index of a sorted list whose value is not smaller. */
function placeOf(sorted: readonly number[], value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/** Matches of a shortest edit script; null if it is long to find. */
function shortestScript(a: number[], b: number[]): Match[] | null {
  const [inA, inB] = [new Set(a), new Set(b)];
  // What the other does not have can't match, and would only make the script longer.
  const left = [...a.keys()].filter(i => inB.has(a[i] as number));
  const right = [...b.keys()].filter(j => inA.has(b[j] as number));
  const runs = myers(
    left.map(i => a[i] as number),
    right.map(j => b[j] as number)
  );
  if (runs === null) {
    return null;
  }
  const found: Match[] = [];
  for (const [i, j, n] of runs) {
    for (let k = 0; k < n; k += 1) {
      found.push([left[i + k] as number, right[j + k] as number, 1]);
    }
  }
  return found;
}

/** Myers' O(ND) algorithm with a bound on D, the edits. */
function myers(a: number[], b: number[]): Match[] | null {
  const [n, m] = [a.length, b.length];
  // For each diagonal k = x - y the x that the edits so far reach. A diagonal is entered from k + 1
  // by an insertion or from k - 1 by a deletion, whichever reaches further.
  const furthest = new Map<number, number>([[1, 0]]);
  const trace: Map<number, number>[] = [];
  const most = Math.min(MAX_EDITS, n + m);
  for (let edits = 0; edits <= most; edits += 1) {
    trace.push(new Map(furthest));
    const lowest = edits - 2 * Math.max(0, edits - m); // diagonals outside lead nowhere
    const highest = edits - 2 * Math.max(0, edits - n);
    for (let k = -lowest; k <= highest; k += 2) {
      let x = entered(furthest, k);
      while (x < n && x - k < m && a[x] === b[x - k]) {
        x += 1;
      }
      if (x >= n && x - k >= m) {
        return wayBack(trace, n, m);
      }
      furthest.set(k, x);
    }
  }
  return null;
}

/** Where a diagonal is entered. */
function entered(furthest: ReadonlyMap<number, number>, k: number): number {
  const inserted = furthest.get(k + 1) ?? -1;
  const deleted = furthest.get(k - 1) ?? -1;
  return inserted > deleted ? inserted : deleted + 1;
}

/** The matches on the way that led to the end. */
function wayBack(trace: readonly ReadonlyMap<number, number>[], n: number, m: number): Match[] {
  const runs: Match[] = [];
  let [x, y] = [n, m];
  for (const furthest of [...trace].reverse()) {
    const k = x - y;
    const start = entered(furthest, k);
    if (x > start) {
      runs.push([start, start - k, x - start]);
    }
    const byInsertion = (furthest.get(k + 1) ?? -1) > (furthest.get(k - 1) ?? -1);
    const source = byInsertion ? k + 1 : k - 1;
    x = furthest.get(source) ?? 0;
    y = x - source;
  }
  return runs.reverse();
}

/** Pairs in order, of the greatest sum of scores, within reach of the diagonal. */
export function aligned(n: number, m: number, score: (i: number, j: number) => number): Pair[] {
  const width = m + 1;
  const end = n * width;

  /** The first place within reach that is left when those before i and j are skipped. */
  const onward = (i: number, j: number): number => {
    const from = j < m ? Math.max(i, Math.ceil((Math.max(0, j - REACH) * n) / m)) : i;
    if (from >= n || j >= m) {
      return end;
    }
    return from * width + Math.max(j, Math.floor((from * m) / n) - REACH);
  };

  const best = new Map<number, number>([[end, 0]]); // the greatest sum from a place on
  const scores = new Map<number, number>();
  const bestFrom = (i: number, j: number): number => best.get(onward(i, j)) as number;
  for (let i = n - 1; i >= 0; i -= 1) {
    const middle = Math.floor((i * m) / n);
    for (let j = Math.min(m, middle + REACH + 1) - 1; j >= Math.max(0, middle - REACH); j -= 1) {
      const here = score(i, j);
      const skipping = Math.max(bestFrom(i + 1, j), bestFrom(i, j + 1));
      scores.set(i * width + j, here);
      best.set(i * width + j, Math.max(skipping, here + bestFrom(i + 1, j + 1)));
    }
  }
  const pairs: Pair[] = [];
  for (let at = onward(0, 0); at < end;) {
    const [i, j] = [Math.floor(at / width), at % width];
    const [sum, here] = [best.get(at), scores.get(at) as number];
    if (here > 0 && sum === here + bestFrom(i + 1, j + 1)) {
      pairs.push([i, j]);
      at = onward(i + 1, j + 1);
    } else {
      at = sum === bestFrom(i + 1, j) ? onward(i + 1, j) : onward(i, j + 1);
    }
  }
  return pairs;
}
