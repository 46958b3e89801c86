/** Which of our states a snapshot of an unknown history began as. Pure. */

import { type Cell, type Document, apply, equal, isNotebook } from '../transforms/index.js';
import type { Pending, Recent } from './parts.js';

type Words = Map<string, number>;

/** The revision to take back to, and how many pending changes are in the snapshot. */
export interface Nearest {
  back: number;
  there: number;
}

/**
 * Which state of ours differs least from the snapshot, the newest of them. (What was sent may have
 * been committed, and saved, without our hearing of it.)
 */
export function nearest(
  snapshot: Document,
  confirmed: Document,
  rev: number,
  pending: readonly Pending[],
  recent: readonly Recent[]
): Nearest {
  const distance = new Distance(snapshot);
  let state = confirmed;
  let best = { back: rev, there: 0 };
  let least = distance.to(state);
  for (const [index, one] of pending.entries()) {
    if (!one.sent) {
      break;
    }
    state = apply(state, one.ops);
    const there = distance.to(state);
    if (compare(there, least) <= 0) {
      [least, best] = [there, { back: rev, there: index + 1 }];
    }
  }
  state = confirmed;
  for (const one of [...recent].reverse()) {
    if (least[0] === 0 && least[1] === 0) {
      break;
    }
    state = apply(state, one.inverse);
    const there = distance.to(state);
    if (compare(there, least) < 0) {
      [least, best] = [there, { back: one.before.rev, there: 0 }];
    }
  }
  return best;
}

type Measure = [lacks: number, more: number];

function compare(a: Measure, b: Measure): number {
  return a[0] - b[0] || a[1] - b[1];
}

/**
 * How far a state is from a snapshot that began as some state of the same history: first what the
 * snapshot has and the state lacks, then what it lacks, both in characters of words.
 *
 * The states before the one that it began with lack more of it; those after it have more that it
 * lacks. In this order, what others took away meanwhile does not make an older state look nearer.
 * Words are compared as bags, not by a diff: a text that was rewritten since would count as all
 * new. Cells are measured once: the states of a history share most of them.
 */
class Distance {
  private readonly texts: Map<string, Cell>;
  private readonly words = new Map<string, Words>();
  private readonly measured = new Map<string, WeakMap<object, Measure>>();

  constructor(private readonly snapshot: Document) {
    this.texts = textsOf(snapshot);
    for (const [key, cell] of this.texts) {
      this.words.set(key, wordsOf(cell.source));
    }
  }

  to(document: Document): Measure {
    const texts = textsOf(document);
    let lacks = 0;
    let more = 0;
    for (const [key, words] of this.words) {
      lacks += texts.has(key) ? 0 : 1 + total(words);
    }
    for (const [key, cell] of texts) {
      const [less, extra] = this.ofCell(key, cell);
      lacks += less;
      more += extra;
    }
    return [lacks, more + this.ofOrder(document, texts)];
  }

  private ofCell(key: string, cell: Cell): Measure {
    const known = this.measured.get(key) ?? new WeakMap<object, Measure>();
    this.measured.set(key, known);
    const measure = known.get(cell) ?? this.measure(key, cell);
    known.set(cell, measure);
    return measure;
  }

  private ofOrder(document: Document, texts: Map<string, Cell>): number {
    if (!isNotebook(document) || !isNotebook(this.snapshot)) {
      return 0;
    }
    const ours = document.order.filter(key => this.words.has(key));
    const theirs = this.snapshot.order.filter(key => texts.has(key));
    const moved = ours.filter((key, index) => key !== theirs[index]).length;
    return moved + (equal(document.metadata, this.snapshot.metadata) ? 0 : 1);
  }

  private measure(key: string, cell: Cell): Measure {
    const words = wordsOf(cell.source);
    const theirs = this.words.get(key);
    const other = this.texts.get(key);
    if (!theirs || !other) {
      return [0, 1 + total(words)];
    }
    const differs = [
      cell.cell_type !== other.cell_type,
      !equal(cell.metadata ?? null, other.metadata ?? null)
    ];
    return [missing(theirs, words), missing(words, theirs) + differs.filter(Boolean).length];
  }
}

/** What has a source, by id; a text file is one such thing. */
function textsOf(document: Document): Map<string, Cell> {
  return isNotebook(document)
    ? new Map(Object.entries(document.cells))
    : new Map([['', document as unknown as Cell]]);
}

/** How often each word and each other character stands in a text, times its length. */
function wordsOf(text: string): Words {
  const words: Words = new Map();
  for (const word of text.match(/[\p{L}\p{N}_]+|[^\p{L}\p{N}_]/gu) ?? []) {
    words.set(word, (words.get(word) ?? 0) + [...word].length);
  }
  return words;
}

function total(words: Words): number {
  return missing(words, new Map());
}

/** How much of `words` is not in `others`. */
function missing(words: Words, others: Words): number {
  let count = 0;
  for (const [word, length] of words) {
    count += Math.max(0, length - (others.get(word) ?? 0));
  }
  return count;
}
