/**
 * The client's side of one document: a pure state machine. Messages in, messages out; no socket,
 * no clock.
 *
 *     confirmed ──(pending[0], in flight)──(pending.slice(1), waiting)──> document
 *
 * `confirmed` is the server's state at `head`; `document` is what the user sees. One change is in
 * flight at a time; what is typed meanwhile is composed into the next one. An entry that comes is
 * either the acknowledgement of what is in flight, or somebody else's: then pending is transformed
 * over it, and it over pending.
 *
 * After any break the client opens the document again with the states it can go back to. The server
 * answers with the entries since one of them, or, if it knows none, with the whole document: then
 * the client *rebases* (see `rebase`).
 */

import {
  type Change,
  type Document,
  Refused,
  apply,
  checkChange,
  compose,
  diff,
  equal,
  invert,
  isNotebook,
  transformChanges
} from '../transforms/index.js';
import {
  dyingIn,
  endsWithRun,
  isKernels,
  onlyRuns,
  replacesACell,
  withoutRuns
} from './changes.js';
import { lackingIn, lostTo } from './conflicts.js';
import type {
  EntriesMessage,
  EntryMessage,
  ErrorMessage,
  Head,
  Kind,
  OpenMessage,
  OpenedMessage,
  ServerMessage,
  SubmitMessage
} from './messages.js';
import { nearest } from './nearest.js';
import {
  type Conflict,
  type EditOptions,
  type Events,
  type Kept,
  type Pending,
  type Recent,
  SILENT
} from './parts.js';
import { type Step, Undo } from './undo.js';

const KNOWN = 500; // confirmed entries that the client can take back
const COMPOSED = 1000; // operations in one change, after that a new one begins
const LOST = 'the log that had it is gone: whether it ran is not known';

const EMPTY: Document = { source: '' };

/** See the module. Call `outgoing` after each call that may have something to send. */
export class ClientDocument {
  doc = '';
  epoch = '';
  head: Head = { rev: 0, hash: '' };
  confirmed: Document = EMPTY;
  document: Document = EMPTY;
  pending: Pending[] = [];
  recent: Recent[] = [];
  readonly undoStacks = new Undo();
  /** The server follows us on this connection. */
  live = false;
  mustOpen = true;
  inFlight = false;
  readOnly = false;
  nextN = 1;
  /** The last of our numbers that the server has. */
  serverN = 0;
  private readonly events: Events;

  constructor(
    public path: string,
    readonly client: string,
    events: Partial<Events> = {},
    public kind: Kind | null = null
  ) {
    this.events = { ...SILENT, ...events };
  }

  /** Whether there is a document: from the server, or from a store. */
  get begun(): boolean {
    return this.epoch !== '';
  }

  // What survives a reload.

  /** What `restore` needs. It shares its parts with this object, which never changes them. */
  keep(): Kept {
    const { client, path, kind, doc, epoch, head, confirmed, nextN, serverN, readOnly } = this;
    const pending = this.pending.map(one => ({ ...one }));
    const recent = this.recent.slice();
    return {
      ...{ client, path, kind, doc, epoch, head, confirmed, nextN, serverN, readOnly },
      ...{ pending, recent }
    };
  }

  /** Go on from what was kept by a page that is gone, instead of from nothing. */
  restore(kept: Kept): void {
    const { path, kind, doc, epoch, head, confirmed, nextN, serverN, readOnly } = kept;
    Object.assign(this, { path, kind, doc, epoch, head, confirmed, nextN, serverN, readOnly });
    this.recent = [...kept.recent];
    this.pending = kept.pending.map(one => ({ ...one }));
    this.disconnected(); // runs that were not sent are too old by now
    this.document = this.pending.reduce((document, one) => apply(document, one.ops), confirmed);
    this.events.begun();
  }

  // What goes out.

  /** The change that is to be sent next, if one can be. It is in flight only by `outgoing`. */
  next(): Pending | null {
    const first = this.pending[0];
    if (!this.live || this.inFlight || !first) {
      return null;
    }
    return this.readOnly && !onlyRuns(first.ops) ? null : first;
  }

  /** The next message to send, or null. Call again until it is null. */
  outgoing(): OpenMessage | SubmitMessage | null {
    if (this.mustOpen) {
      this.mustOpen = false;
      return this.openMessage();
    }
    const first = this.next();
    if (!first) {
      return null;
    }
    first.sent = this.inFlight = true;
    const message: SubmitMessage = {
      type: 'submit',
      doc: this.doc,
      n: first.n,
      base: this.head.rev,
      hash: this.head.hash,
      ops: first.ops
    };
    return first.n === this.serverN + 1 ? message : { ...message, skip: true };
  }

  private openMessage(): OpenMessage {
    const message: OpenMessage = { type: 'open', path: this.path, client: this.client };
    if (this.kind !== null) {
      message.kind = this.kind;
    }
    if (this.epoch) {
      const known = [this.head, ...this.recent.map(one => one.before).reverse()];
      message.epoch = this.epoch;
      message.known = known.map(head => [head.rev, head.hash]);
    }
    return message;
  }

  /** The connection is gone. What is pending stays; runs asked for and not sent do not. */
  disconnected(): void {
    this.live = this.inFlight = false;
    this.mustOpen = true;
    for (const one of [...this.pending]) {
      if (!one.sent) {
        this.cancel(one, 'offline', 'the connection broke before it was asked for');
      }
    }
  }

  /** Do not ask for the runs of a pending change. */
  private cancel(pending: Pending, code: string, why: string): void {
    const ops = withoutRuns(pending.ops);
    if (ops.length === pending.ops.length) {
      return;
    }
    pending.ops = ops;
    if (!ops.length) {
      this.pending.splice(this.pending.indexOf(pending), 1);
    }
    this.events.cancelled(pending.n, code, why);
  }

  // What the user does.

  /**
   * Change the document now; it is sent when it can be. Returns the number of the pending change
   * that it is part of.
   *
   * Throws `Refused`, and does nothing, if the operations are not well-formed or do not fit the
   * document as it is seen.
   */
  edit(ops: Change, options: EditOptions = {}): number {
    return this.change(ops, options, 'edit');
  }

  private change(ops: Change, { scope = '', merge = false }: EditOptions, of: Step): number {
    checkChange(ops, { notebook: isNotebook(this.document), fromClient: true });
    const after = apply(this.document, ops); // first: it refuses what does not fit
    const inverse = invert(this.document, ops);
    this.document = after;
    this.undoStacks.record(scope, ops, inverse, of, merge);
    const pending = this.queue(ops);
    if (pending.ops !== ops && replacesACell(pending.ops)) {
      // Removed and, by undo, there again: what others type in it must not die for that.
      ops = [...ops, ...this.simplify(pending)];
    }
    this.events.change(ops, of === 'edit' ? 'local' : 'undo');
    return pending.n;
  }

  /** Make a change pending, composed into the last one where that was not sent. */
  private queue(ops: Change): Pending {
    const last = this.pending.at(-1);
    if (!last || last.sent || last.ops.length >= COMPOSED || endsWithRun(last.ops)) {
      const pending = { n: this.nextN++, ops, sent: false };
      this.pending.push(pending);
      return pending;
    }
    last.ops = compose(last.ops, ops);
    return last;
  }

  /**
   * Have the last pending change say only what differs. What the kernel wrote meanwhile in a cell
   * that we removed and brought back stays the kernel's: returned is what this changes in the
   * document that is seen.
   */
  private simplify(pending: Pending): Change {
    const before = this.before(pending);
    const runs = pending.ops.slice(withoutRuns(pending.ops).length);
    const ops = diff(before, this.document);
    const ours = ops.filter(one => !isKernels(one));
    pending.ops = [...ours, ...runs];
    if (ours.length === ops.length) {
      return [];
    }
    const seen = this.document;
    this.document = apply(before, pending.ops);
    const restored = diff(seen, this.document);
    this.undoStacks.foreign(restored);
    return restored;
  }

  /** The document before a pending change. */
  private before(pending: Pending): Document {
    const earlier = this.pending.slice(0, this.pending.indexOf(pending));
    return earlier.reduce((document, one) => apply(document, one.ops), this.confirmed);
  }

  /** Take one's own last change in a scope back; false if there is none. */
  undo(scope = ''): boolean {
    return this.step(scope, 'undo');
  }

  /** Take one's own last undo in a scope back; false if there is none. */
  redo(scope = ''): boolean {
    return this.step(scope, 'redo');
  }

  private step(scope: string, of: 'undo' | 'redo'): boolean {
    for (let ops; (ops = this.undoStacks.pop(scope, of));) {
      if (!ops.length) {
        continue; // others have removed all that it was about
      }
      try {
        this.change(ops, { scope }, of);
      } catch (error) {
        if (error instanceof Refused) {
          continue;
        }
        throw error;
      }
      return true;
    }
    return false;
  }

  // What comes in.

  /** Take a message of the server about this document. */
  receive(message: ServerMessage): void {
    switch (message.type) {
      case 'opened':
        return this.opened(message);
      case 'entries':
        return this.entries(message);
      case 'repeated':
        // The server has our number already, and we do not know where: look at the log again.
        return this.pending[0]?.n === message.n ? this.reopen() : undefined;
      case 'resync':
        return this.reopen();
      case 'error':
        return this.error(message);
      case 'renamed':
        this.path = message.path;
    }
  }

  /**
   * Open again. While an `open` is not answered this does nothing: what is said meanwhile is about
   * the place in the stream that we gave up, and a second answer would speak of a state that we
   * have left by then.
   */
  private reopen(): void {
    if (this.live) {
      this.live = this.inFlight = false;
      this.mustOpen = true;
    }
  }

  private opened(message: OpenedMessage): void {
    const first = !this.begun;
    this.doc = message.doc;
    this.kind = message.kind;
    this.path = message.path;
    this.readOnly = message.write === false;
    this.serverN = message.n;
    if (!message.document) {
      if (message.since < this.head.rev) {
        this.takeBack(message.since);
      }
    } else {
      if (first) {
        this.confirmed = this.document = message.document;
      } else {
        this.rebase(message.document, message.epoch === this.epoch, message.entries);
      }
      this.head = { rev: message.since, hash: '' };
      this.epoch = message.epoch;
      this.events.whole();
    }
    for (const entry of message.entries) {
      this.enter(entry);
    }
    this.head = { rev: message.rev, hash: message.hash };
    this.epoch = message.epoch;
    this.nextN = Math.max(this.nextN, message.n + 1);
    this.live = true;
    this.inFlight = false;
    if (first) {
      this.events.begun();
    }
  }

  private entries(message: EntriesMessage): void {
    if (!this.live) {
      return; // of a place in the stream that we have given up
    }
    const before = message.from - 1;
    const forked = before === this.head.rev && message.prev !== this.head.hash;
    if (before > this.head.rev || message.epoch !== this.epoch || forked) {
      this.reopen();
      return;
    }
    for (const entry of message.entries) {
      if (entry.rev > this.head.rev && this.live) {
        this.enter(entry);
      }
    }
  }

  private error(message: ErrorMessage): void {
    if (message.n !== undefined && !message.taken) {
      if (message.code === 'forbidden') {
        this.forbidden(message.n, message.message);
      } else {
        this.reopen();
      }
    }
    this.events.refused(message);
  }

  /** What is in flight is not permitted: perhaps only to run cells, so try it without. */
  private forbidden(n: number, why: string): void {
    this.inFlight = false;
    const first = this.pending[0];
    if (first?.n === n && endsWithRun(first.ops)) {
      this.cancel(first, 'forbidden', why);
    } else {
      this.readOnly = true;
    }
  }

  // Entries.

  /** Take the entry after the head. */
  private enter(entry: EntryMessage): void {
    const { n } = entry;
    const own = entry.client === undefined || entry.client === this.client;
    const index = own ? this.pending.findIndex(one => one.n === n) : -1;
    const ops = entry.ops ?? this.pending[index]?.ops;
    if (!ops) {
      this.reopen(); // an acknowledgement of we know not what
      return;
    }
    const state = this.confirmed;
    this.recent.push({ before: this.head, n: own ? n : 0, ops, inverse: invert(state, ops) });
    this.recent.splice(0, this.recent.length - KNOWN);
    this.confirmed = apply(state, ops);
    this.head = { rev: entry.rev, hash: entry.hash };
    if (own) {
      this.serverN = Math.max(this.serverN, n);
      this.nextN = Math.max(this.nextN, n + 1);
    }
    if (index < 0) {
      this.foreign(ops, this.pending);
    } else {
      this.own(state, index, ops);
      this.inFlight = false;
      this.events.acknowledged(n, this.head);
    }
    this.events.entered(own ? n : 0, ops);
  }

  /** Our pending change `index` is in the log as `ops`, made for `state`. */
  private own(state: Document, index: number, ops: Change): void {
    const [twin] = this.pending.splice(index, 1) as [Pending];
    for (const one of this.pending.slice(0, index)) {
      const seenBefore = one.ops;
      [one.ops, ops] = transformChanges(seenBefore, ops, { later: true });
      state = apply(state, seenBefore);
    }
    if (!equal(ops, twin.ops)) {
      // It is there in another form (a rebase, a refusal): take ours back, put that there.
      this.foreign([...invert(state, twin.ops), ...ops], this.pending.slice(index));
    }
  }

  /**
   * Somebody else's change, made for the state before `pending` (the tail of what is pending):
   * pending goes over it, and it over pending into the document.
   */
  private foreign(ops: Change, pending: readonly Pending[]): void {
    const ours = pending.map(one => one.ops);
    this.saveConflicts(lostTo(ops, ours, this.document));
    for (const one of pending) {
      dyingIn(ops, one.ops).forEach(lost => this.undoStacks.died(lost));
      [one.ops, ops] = transformChanges(one.ops, ops, { later: true });
    }
    if (ops.length) {
      this.document = apply(this.document, ops);
      this.undoStacks.foreign(ops);
      this.events.change(ops, 'remote');
    }
  }

  private saveConflicts(conflicts: readonly Conflict[]): void {
    conflicts.forEach(one => this.events.conflict(one));
  }

  // Breaks.

  /**
   * Go back to revision `rev` of what is confirmed: foreign entries after it are taken back, our
   * own become pending again under their old numbers.
   */
  private takeBack(rev: number): void {
    const taken = this.recent.splice(this.recent.length - (this.head.rev - rev));
    let without: Change = []; // from the confirmed state to that one without foreign entries
    const own: Pending[] = [];
    for (const one of taken) {
      if (!one.n) {
        without = [...one.inverse, ...without];
        continue;
      }
      this.saveConflicts(lostTo(without, [one.ops], this.document));
      let ops: Change;
      [ops, without] = transformChanges(one.ops, without, { later: true });
      if (endsWithRun(ops)) {
        ops = withoutRuns(ops); // it may have run: it must not run twice
        this.events.cancelled(one.n, 'lost', LOST);
      }
      own.push({ n: one.n, ops, sent: true });
    }
    for (const one of [...taken].reverse()) {
      this.confirmed = apply(this.confirmed, one.inverse);
    }
    this.head = taken[0]?.before ?? this.head;
    this.foreign(without, this.pending);
    this.pending.unshift(...own);
  }

  /**
   * Go over to a state that the server can only give whole; `entries` follow it.
   *
   * First our own entries that it may lack become pending again: in the same log those that the
   * server does not have or that are among `entries`, in a new one those after the state of ours
   * that is nearest to the snapshot (a new log begins with the file, which is some state of the old
   * one). What of pending the snapshot has is confirmed. The rest goes over the difference as over
   * an entry.
   */
  private rebase(snapshot: Document, sameLog: boolean, entries: readonly EntryMessage[]): void {
    const coming = new Set(entries.filter(one => one.client === this.client).map(one => one.n));
    let { back, there } = { back: this.head.rev, there: 0 };
    if (sameLog) {
      const lost = this.recent.find(one => one.n && (one.n > this.serverN || coming.has(one.n)));
      back = lost?.before.rev ?? back;
    } else {
      [...this.pending].forEach(one => this.cancel(one, 'lost', LOST));
      const { confirmed, head, pending, recent } = this;
      ({ back, there } = nearest(snapshot, confirmed, head.rev, pending, recent));
    }
    if (back < this.head.rev) {
      this.takeBack(back);
    }
    const known = this.pending.findIndex(one => one.n > this.serverN || coming.has(one.n));
    there = Math.max(there, known < 0 ? this.pending.length : known);
    const confirmed = this.pending.splice(0, there).map(one => one.ops);
    const state = confirmed.reduce((document, ops) => apply(document, ops), this.confirmed);
    this.saveConflicts(lackingIn(snapshot, confirmed, this.document));
    this.foreign(diff(state, snapshot), this.pending);
    this.confirmed = snapshot;
    this.recent = [];
  }
}
