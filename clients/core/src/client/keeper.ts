/**
 * What of a document is kept in a store, and how it is found again.
 *
 * Two texts. The *base* is a confirmed document of some revision, big and written seldom; the
 * *tail* has the entries since then and what is pending, small and written before each submission.
 */

import { type Change, type Document, apply, invert } from '../transforms/index.js';
import type { Release } from './locks.js';
import type { Head, Kind } from './messages.js';
import type { Kept, Pending, Recent } from './parts.js';
import type { Store } from './store.js';

const MOST_ENTRIES = 200; // in a tail
const MOST_TEXT = 256 * 1024; // UTF-16 units of a tail that has entries
const LEFT = 50; // entries in the tail after a base was written

interface Base {
  epoch: string;
  head: Head;
  confirmed: Document;
}

interface Entry {
  before: Head;
  n: number;
  ops: Change;
}

interface Tail extends Omit<Kept, 'confirmed' | 'recent' | 'pending'> {
  lock: string;
  base: Head;
  entries: Entry[];
  pending: Pending[];
}

/** What a page that is gone has left: `kept` null where nothing was. */
export interface Found {
  kept: Kept | null;
  keeper: Keeper;
}

/** Writes one document's record. It holds the record's lock until it is closed. */
export class Keeper {
  private path = '';
  private base: { epoch: string; head: Head } | null = null;
  private writing: Promise<void> | null = null;
  private waiting: Promise<void> | null = null;

  constructor(
    private readonly store: Store,
    readonly client: string,
    private readonly lock: string,
    private readonly release: Release
  ) {}

  /**
   * Write the state that `keep` gives when the write begins: what is asked for while another one is
   * under way is written in one. It is kept when this is resolved.
   */
  write(keep: () => Kept): Promise<void> {
    if (!this.writing) {
      this.writing = this.put(keep()).finally(() => (this.writing = null));
      return this.writing;
    }
    this.waiting ??= this.writing
      .catch(() => {}) // that one was told to whoever asked for it
      .then(() => {
        this.waiting = null;
        return this.write(keep);
      });
    return this.waiting;
  }

  /** Nothing is left to keep: forget the record. */
  async forget(): Promise<void> {
    await this.quiet();
    if (this.path) {
      const [base, tail] = keysOf(this.client, this.path);
      await this.store.set({ [base]: null, [tail]: null });
    }
  }

  /** Let go of the record: the next who opens the document may go on with it. */
  async close(): Promise<void> {
    await this.quiet();
    await this.release();
  }

  private async quiet(): Promise<void> {
    while (this.writing) {
      await (this.waiting ?? this.writing).catch(() => {});
    }
  }

  private async put(kept: Kept): Promise<void> {
    const changes: Record<string, string | null> = {};
    if (this.path && this.path !== kept.path) {
      keysOf(this.client, this.path).forEach(key => (changes[key] = null));
    }
    const [baseKey, tailKey] = keysOf(this.client, kept.path);
    let entries = this.path === kept.path ? this.since(kept) : null;
    let tail = entries && entries.length <= MOST_ENTRIES ? this.tail(kept, entries) : null;
    let base: Base | null = null;
    if (entries === null || tail === null || (entries.length && tail.length > MOST_TEXT)) {
      entries = kept.recent.slice(-LEFT);
      base = baseOf(kept, entries);
      tail = this.tail(kept, entries, base.head);
      if (tail.length > MOST_TEXT) {
        base = baseOf(kept, []);
        tail = this.tail(kept, [], base.head);
      }
      changes[baseKey] = JSON.stringify(base);
    }
    changes[tailKey] = tail;
    await this.store.set(changes);
    this.path = kept.path;
    this.base = base ? { epoch: base.epoch, head: base.head } : this.base;
  }

  /** The entries since the base that is in the store; null if it is none of this log's. */
  private since({ epoch, head, recent }: Kept): readonly Recent[] | null {
    if (this.base?.epoch !== epoch) {
      return null;
    }
    if (sameHead(this.base.head, head)) {
      return [];
    }
    const { head: base } = this.base;
    const first = recent.findIndex(one => sameHead(one.before, base));
    return first < 0 ? null : recent.slice(first);
  }

  private tail(kept: Kept, recent: readonly Recent[], base = this.base?.head): string {
    const { confirmed: _confirmed, recent: _recent, pending, ...rest } = kept;
    const entries = recent.map(({ before, n, ops }) => ({ before, n, ops }));
    const tail: Tail = {
      ...rest,
      lock: this.lock,
      base: base ?? kept.head,
      entries,
      pending: [...pending]
    };
    return JSON.stringify(tail);
  }
}

function baseOf(kept: Kept, since: readonly Recent[]): Base {
  const back = [...since].reverse();
  const confirmed = back.reduce((state, one) => apply(state, one.inverse), kept.confirmed);
  return { epoch: kept.epoch, head: since[0]?.before ?? kept.head, confirmed };
}

function keysOf(client: string, path: string): [base: string, tail: string] {
  return [`base:${client}:${path}`, `tail:${client}:${path}`];
}

function sameHead(a: Head, b: Head): boolean {
  return a.rev === b.rev && a.hash === b.hash;
}

/**
 * The record of a document that a page left which is gone, else a new one: under `client` if nobody
 * uses that id here, else under a random id. Records that hold nothing pending are forgotten, but
 * for the one that is found.
 */
export async function findRecord(
  store: Store,
  path: string,
  kind: Kind | null,
  client: string
): Promise<Found> {
  let best: Found | null = null;
  for (const key of await store.keys('tail:')) {
    if (key.split(':').slice(2).join(':') !== path || best?.kept?.pending.length) {
      continue;
    }
    const found = await adopt(store, key, kind);
    if (found && (!best || found.kept?.pending.length)) {
      await best?.keeper.forget();
      await best?.keeper.close();
      best = found;
    } else if (found) {
      await found.keeper.forget();
      await found.keeper.close();
    }
  }
  return best ?? (await newRecord(store, path, client));
}

async function newRecord(store: Store, path: string, client: string): Promise<Found> {
  for (;;) {
    const lock = `${client}:${path}`;
    const release = await store.claim(lock);
    if (release && (await store.get(keysOf(client, path)[1])) === null) {
      return { kept: null, keeper: new Keeper(store, client, lock, release) };
    }
    await release?.(); // its record is of another kind: it is not ours to go on with
    client = randomId();
  }
}

/** Take over a record, if whoever wrote it is gone and it can be read. */
async function adopt(store: Store, key: string, kind: Kind | null): Promise<Found | null> {
  const seen = parsed<Tail>(await store.get(key));
  const release = seen && fits(seen, kind) ? await store.claim(seen.lock) : null;
  if (!release) {
    return null;
  }
  const tail = parsed<Tail>(await store.get(key)); // as it was left
  const base = tail && parsed<Base>(await store.get(keysOf(tail.client, tail.path)[0]));
  const kept = tail && base && keptOf(base, tail);
  if (!kept) {
    await release(); // it stays where it is
    return null;
  }
  const keeper = new Keeper(store, tail.client, tail.lock, release);
  keeper['path'] = tail.path;
  keeper['base'] = { epoch: base.epoch, head: base.head };
  return { kept, keeper };
}

function fits(tail: Tail, kind: Kind | null): boolean {
  return kind === null || tail.kind === null || tail.kind === kind;
}

/** What the two texts stand for; null if they do not fit together. */
function keptOf(base: Base, tail: Tail): Kept | null {
  if (base.epoch !== tail.epoch || !sameHead(base.head, tail.base)) {
    return null;
  }
  const { lock: _lock, base: _base, entries, ...rest } = tail;
  const recent: Recent[] = [];
  let { confirmed } = base;
  try {
    for (const entry of entries) {
      recent.push({ ...entry, inverse: invert(confirmed, entry.ops) });
      confirmed = apply(confirmed, entry.ops);
    }
    tail.pending.reduce((document, one) => apply(document, one.ops), confirmed);
  } catch (error) {
    console.error(`ot-jupyter: what was kept of ${tail.path} does not fit together`, error);
    return null;
  }
  return { ...rest, confirmed, recent };
}

function parsed<T>(text: string | null): T | null {
  return text === null ? null : (JSON.parse(text) as T);
}

/** An id that nobody else has: 16 hex digits behind `ts-`. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return 'ts-' + [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
}
