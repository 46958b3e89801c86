/** A server for one document, made of core's transforms: it transforms, numbers, tells everybody. */

import {
  type Change,
  type ClientMessage,
  type Document,
  type EntryMessage,
  type Kind,
  type OpenMessage,
  type PresenceMessage,
  Refused,
  type ServerMessage,
  type SubmitMessage,
  apply,
  checkChange,
  equal,
  isNotebook,
  transformChanges
} from '../../src/index.js';

interface Entry extends EntryMessage {
  client: string;
  ops: Change;
}

/** Somebody who follows the document. */
export interface Follower {
  tell(message: ServerMessage): void;
}

interface Place {
  client: string;
  presence: PresenceMessage | null;
}

/** See the module. What it is told and says is what is on the wire, but for the JSON. */
export class Sequencer {
  epoch = 'e1';
  entries: Entry[] = [];
  write = true;
  /** The oldest revision whose successors it can tell. */
  floor = 0;
  /** Why changes were refused that have a number. */
  readonly refusals: string[] = [];
  private states: Document[];
  private hashes: string[];
  private names = 0;
  private readonly seen = new Map<string, number>();
  private readonly followers = new Map<Follower, Place>();

  constructor(
    initial: Document,
    readonly path = 'a.ipynb'
  ) {
    this.states = [initial];
    this.hashes = [this.newHash()];
  }

  get document(): Document {
    return this.states.at(-1) as Document;
  }

  get rev(): number {
    return this.entries.length;
  }

  get kind(): Kind {
    return isNotebook(this.document) ? 'notebook' : 'text';
  }

  get hash(): string {
    return this.hashes.at(-1) as string;
  }

  private newHash(): string {
    return `h${this.names++}`;
  }

  /** Take a message of a follower. */
  take(from: Follower, message: ClientMessage): void {
    switch (message.type) {
      case 'open':
        return this.open(from, message as OpenMessage);
      case 'submit':
        return this.submit(from, message as SubmitMessage);
      case 'presence':
        return this.told(from, message.presence as PresenceMessage['presence']);
      case 'save':
        return from.tell({ type: 'saved', doc: this.doc, rev: this.rev });
      case 'close':
        return this.leave(from);
    }
  }

  /** The document's id; a store that was lost gives another. */
  get doc(): string {
    return `${this.path}-${this.epoch}`;
  }

  leave(follower: Follower): void {
    if (this.followers.has(follower)) {
      this.told(follower, null);
      this.followers.delete(follower);
    }
  }

  private open(from: Follower, message: OpenMessage): void {
    const known = message.epoch === this.epoch ? (message.known ?? []) : [];
    const common = known.find(
      ([rev, hash]) => rev >= this.floor && hash && this.hashes[rev] === hash
    );
    const since = common ? common[0] : this.floor;
    const answer: ServerMessage = {
      ...{ type: 'opened', asked: message.path, path: this.path, doc: this.doc, kind: this.kind },
      ...{ epoch: this.epoch, rev: this.rev, hash: this.hash, user: { username: message.client } },
      n: this.seen.get(message.client) ?? 0,
      write: this.write,
      presence: [...this.followers.values()].flatMap(one => one.presence ?? []),
      since,
      entries: this.entries.slice(since)
    };
    this.followers.set(from, { client: message.client, presence: null });
    from.tell(common ? answer : { ...answer, document: this.states[since] });
  }

  private submit(from: Follower, message: SubmitMessage): void {
    const client = this.followers.get(from)?.client;
    const { n, base } = message;
    const refuse = (code: string, text = code) =>
      from.tell({ type: 'error', code, message: text, of: 'submit', doc: this.doc, n });
    if (client === undefined) {
      return;
    }
    const last = this.seen.get(client) ?? 0;
    if (n <= last) {
      from.tell({ type: 'repeated', doc: this.doc, n, rev: this.rev, hash: this.hash });
    } else if (n > last + 1 && !message.skip) {
      refuse('gap');
    } else if (base < this.floor || this.hashes[base] !== message.hash) {
      refuse('unknown_base');
    } else if (!this.write) {
      refuse('forbidden');
    } else {
      this.commit(client, n, base, message.ops, from);
    }
  }

  private commit(client: string, n: number, base: number, ops: Change, from?: Follower): void {
    try {
      checkChange(ops, { notebook: isNotebook(this.document), fromClient: from !== undefined });
      for (const entry of this.entries.slice(base)) {
        [ops] = transformChanges(ops, entry.ops, { later: true });
      }
      this.states.push(apply(this.document, ops));
    } catch (error) {
      if (!(error instanceof Refused)) {
        throw error;
      }
      const { code, message } = error;
      this.refusals.push(message);
      from?.tell({ type: 'error', code, message, of: 'submit', doc: this.doc, n, taken: true });
      ops = [];
      from = undefined; // he has to be told that it became nothing
      this.states.push(this.document);
    }
    this.append({ rev: this.rev + 1, client, n, hash: this.newHash(), ops }, from);
  }

  private append(entry: Entry, author?: Follower): void {
    const { epoch, doc, rev, hash: prev } = this;
    this.entries.push(entry);
    this.hashes.push(entry.hash);
    this.seen.set(entry.client, entry.n);
    const frame = { type: 'entries' as const, doc, epoch, from: rev + 1, prev };
    for (const follower of this.followers.keys()) {
      const { rev, n, hash } = entry;
      follower.tell({ ...frame, entries: [follower === author ? { rev, n, hash } : entry] });
    }
  }

  /** Write as somebody else: a kernel, say. */
  enter(client: string, ops: Change): void {
    this.commit(client, (this.seen.get(client) ?? 0) + 1, this.rev, ops);
  }

  private told(from: Follower, presence: PresenceMessage['presence']): void {
    const place = this.followers.get(from);
    if (place) {
      const { rev = this.rev, ...rest } = presence ?? {};
      const { client } = place;
      const word = {
        ...{ client, rev: rev as number, user: { username: client } },
        presence: presence && rest
      };
      place.presence = presence && word;
      for (const other of this.followers.keys()) {
        if (other !== from) {
          other.tell({ type: 'presence', doc: this.doc, ...word });
        }
      }
    }
  }

  // What may happen to a store.

  /** It was lost, and made again from a file that has the state of revision `saved`. */
  lose(saved: number): void {
    const file = this.states[saved] as Document;
    this.epoch = `e${Number(this.epoch.slice(1)) + 1}`;
    this.entries = [];
    this.states = [file];
    this.hashes = [this.newHash()];
    this.floor = 0;
    this.seen.clear();
    this.followers.clear();
  }

  /** The last `count` entries were lost. */
  loseTail(count: number): void {
    const kept = Math.max(this.floor, this.rev - count);
    this.entries.splice(kept);
    this.states.splice(kept + 1);
    this.hashes.splice(kept + 1);
    this.seen.clear();
    this.entries.forEach(one => this.seen.set(one.client, one.n));
    this.followers.clear();
  }

  /** The oldest entries are told no more. */
  trim(floor: number): void {
    this.floor = Math.max(this.floor, Math.min(floor, this.rev));
  }

  /** Whether a client's copy is ours. */
  isSame(document: Document): boolean {
    return equal(document, this.document);
  }
}
