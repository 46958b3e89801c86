/** A document that is open: read it, change it, hear of what others do. */

import { type Change, type Document, type Json, pointer } from '../transforms/index.js';
import { onlyRuns } from './changes.js';
import { type CommKind, type CommMessage, toBase64 } from './comms.js';
import { DocumentError } from './errors.js';
import { randomId } from './keeper.js';
import type { Kind, ServerMessage } from './messages.js';
import type { Conflict, EditOptions } from './parts.js';
import type { Presence } from './presence.js';
import type { Running } from './runs.js';
import { type Link, type SessionEvent, type SessionOptions, Sync } from './sync.js';
import { Timer } from './timing.js';

const KERNEL_MS = 180_000; // that a kernel may take to start

/** How a document stands, in a word for the user. See `Session.status`. */
export type Status =
  'opening' | 'live' | 'saving' | 'offline' | 'catching up' | 'read only' | 'failed';

/** Where we are: see `Session.setPresence`. Offsets are code points. */
export interface OwnPlace {
  cell?: string | null;
  anchor?: number | null;
  head?: number | null;
  [more: string]: Json | undefined;
}

/** See the module; made by `Connection.open`. */
export class Session {
  /** Kept when the document is there, from the server or from the store; fails if it can't be had. */
  readonly ready: Promise<void>;
  /** What keeps it in step: for the connection. */
  readonly sync: Sync;
  private readonly goodbye = new Timer();
  private readonly ended: (session: Session) => void;
  private uses = 1;

  constructor(link: Link, path: string, options: SessionOptions, ended = (_: Session) => {}) {
    this.sync = new Sync(link, path, options);
    this.ready = this.sync.begun.promise;
    this.ended = ended;
  }

  // What it is.

  /** The path below the server's root; it follows renames. */
  get path(): string {
    return this.sync.state.path;
  }

  /** Null until the document is there. */
  get kind(): Kind | null {
    return this.sync.state.kind;
  }

  /** The document's id, which stays whatever its path becomes; `''` until it was open once. */
  get id(): string {
    return this.sync.state.doc;
  }

  /** Our name in the log. */
  get client(): string {
    return this.sync.state.client;
  }

  /** The document as it is seen, with what is not acknowledged yet. Don't change it. */
  get document(): Document {
    return this.sync.state.document;
  }

  /** The last revision of the log that we have. */
  get rev(): number {
    return this.sync.state.head.rev;
  }

  /** The hash of that revision. */
  get hash(): string {
    return this.sync.state.head.hash;
  }

  /** Who the server says we are: `username`, `display_name`, `color`, …; null before that. */
  get user(): Json {
    return this.sync.user;
  }

  /** Whether the server follows what we do, and we what it does. */
  get live(): boolean {
    return this.sync.live;
  }

  /**
   * `opening`: there is no document yet; `live`: all is acknowledged; `saving`: something is on its
   * way; `offline`: there is no connection; `catching up`: there is one again, the document is
   * being brought up to date; `read only`; `failed`: see `problem`.
   */
  get status(): Status {
    const { stopped, hopeless, live, link, state, committing } = this.sync;
    if (stopped || (hopeless && !live)) {
      return 'failed';
    }
    if (!live && !state.begun) {
      return 'opening';
    }
    if (!live) {
      return link.online ? 'catching up' : 'offline';
    }
    if (state.readOnly) {
      return 'read only';
    }
    return this.unsaved || !committing ? 'saving' : 'live';
  }

  /** Whether it is over: nothing is sent or heard any more. */
  get closed(): boolean {
    return this.sync.stopped;
  }

  /** Why the document can't be had now, if so. It is tried again, unless the session is stopped. */
  get problem(): DocumentError | null {
    return this.sync.problem;
  }

  /** What is wrong with the document's file, if anything: then it is not written. */
  get fileProblem(): string | null {
    return this.sync.fileProblem;
  }

  /** Whether we may only read. */
  get readOnly(): boolean {
    return this.sync.state.readOnly;
  }

  /** How many changes the server has not acknowledged. */
  get unsaved(): number {
    return this.sync.state.pending.length;
  }

  /** Cells that others removed while text of ours was on its way into them, as we saw them. */
  get conflicts(): readonly Conflict[] {
    return this.sync.conflicts;
  }

  /** Why the server refused changes of ours. They were taken back here. */
  get refused(): readonly DocumentError[] {
    return this.sync.refused;
  }

  /** The others who have the document open, by client. It is always the same map. */
  get others(): ReadonlyMap<string, Presence> {
    return this.sync.others.here;
  }

  /** Hear what happens. Returns what ends it. A listener must not throw. */
  subscribe(listener: (event: SessionEvent) => void): () => void {
    return this.sync.listeners.add(listener);
  }

  // Changes.

  /**
   * Change the document at once; it is sent as soon as it can be, also if that is tomorrow.
   *
   * Throws `Refused` if the operations do not fit the document as it is seen, `DocumentError` if it
   * may only be read, is not there yet, or is closed.
   */
  edit(ops: Change, options: EditOptions = {}): void {
    this.checkMay(ops);
    if (ops.length) {
      this.sync.state.edit(ops, options);
      this.sync.attend(true);
    }
  }

  /** Take our own last change in a scope back; false if there is none. What others did stays. */
  undo(scope = ''): boolean {
    return this.step(() => this.sync.state.undo(scope));
  }

  /** Take our own last undo in a scope back; false if there is none. */
  redo(scope = ''): boolean {
    return this.step(() => this.sync.state.redo(scope));
  }

  private step(step: () => boolean): boolean {
    const done = !this.closed && !this.readOnly && step();
    if (done) {
      this.sync.attend(true);
    }
    return done;
  }

  /** Whether `undo` would find something. */
  canUndo(scope = ''): boolean {
    return !this.readOnly && this.sync.state.undoStacks.can(scope, 'undo');
  }

  /** Whether `redo` would find something. */
  canRedo(scope = ''): boolean {
    return !this.readOnly && this.sync.state.undoStacks.can(scope, 'redo');
  }

  /** What was done so far can't be undone any more. */
  clearUndo(): void {
    this.sync.state.undoStacks.clear();
  }

  /** Kept when all that was changed so far is in the log. Fails if it never will be. */
  async acknowledged(): Promise<void> {
    const last = this.sync.state.pending.at(-1)?.n ?? 0;
    const waits = () => this.sync.state.pending.some(one => one.n <= last);
    while (waits() && !this.closed) {
      await new Promise<void>(resolve => {
        const end = this.subscribe(event => {
          if (event.type === 'entered' || event.type === 'status') {
            end();
            resolve();
          }
        });
      });
    }
    if (waits()) {
      throw this.problem ?? this.closedError();
    }
  }

  /** Have the file written now, with all that was changed so far. (It is anyway, soon.) */
  save(): Promise<void> {
    if (this.closed) {
      return Promise.reject(this.problem ?? this.closedError());
    }
    const saved = this.sync.saves.add(this.sync.state.pending.at(-1)?.n ?? 0);
    this.sync.pumpSoon();
    return saved;
  }

  // The kernel.

  /**
   * Run cells, in this order, behind all that was changed so far. If a run fails, the others of the
   * same call are aborted, as in Jupyter.
   *
   * Throws `DocumentError` (`offline`): runs do not wait for a connection.
   */
  run(cells: readonly string[]): Running {
    this.checkLive();
    const ops = cells.map(cell => ({ op: 'run' as const, path: pointer('cells', cell) }));
    if (!ops.length) {
      return { runs: [], done: Promise.resolve([]) };
    }
    const running = this.sync.tracker.follow(this.sync.state.edit(ops, { scope: null }), cells);
    this.sync.attend(true);
    return running;
  }

  /**
   * Ask for something of the kernel itself: `start`, `interrupt`, `restart`, `shutdown`, or
   * `change` with a `spec`. Kept when it is done: the document's `kernel` then.
   *
   * Fails with `DocumentError`: `kernel_unavailable`, `forbidden`, `offline`.
   */
  async kernel(action: string, fields: Record<string, Json> = {}): Promise<Json> {
    const answer = await this.ask('kernel', { action, ...fields });
    const timer = new Timer();
    const late = new Promise<never>((_, reject) => {
      const error = new DocumentError('kernel_unavailable', 'the kernel took too long');
      timer.start(KERNEL_MS, () => reject(error));
    });
    const id = answer.type === 'requested' ? answer.id : '';
    return Promise.race([this.sync.tracker.carriedOut(id), late]).finally(() => timer.stop());
  }

  /** Answer the question `id` of a running cell. Fails with `answered` if it is asked no more. */
  async answer(id: string, value: string): Promise<void> {
    await this.ask('input', { id, value });
  }

  private ask(type: 'kernel' | 'input', fields: Record<string, Json>): Promise<ServerMessage> {
    return this.sync.asking.ask(() => {
      this.checkLive();
      this.sync.link.send({ type, doc: this.sync.state.doc, ...fields });
    });
  }

  /**
   * Hear the comm messages of the kernel's widgets, in their order: first what would open those
   * that there are as they are now, then what comes. After a break of the connection it begins
   * again, with `comms_closed`. Returns what ends it.
   */
  hearComms(listener: (message: CommMessage) => void): () => void {
    const { comms } = this.sync;
    comms.add(listener);
    this.sync.hearComms();
    return () => {
      comms.remove(listener);
      if (!comms.any) {
        this.sync.hearComms();
      }
    };
  }

  /**
   * Send the kernel a comm message. Returns its id, the `parent` of what answers it. It is sent
   * once, and not confirmed. Throws `DocumentError` (`offline`).
   */
  sendComm(
    kind: CommKind,
    content: Record<string, Json>,
    buffers: readonly Uint8Array[] = [],
    id = randomId()
  ): string {
    this.checkLive();
    const message = { id, kind, content, buffers: buffers.map(toBase64) };
    this.sync.link.send({ type: 'comm', doc: this.sync.state.doc, ...message });
    return id;
  }

  // Where we are.

  /**
   * Tell the others where we are: in a cell, from anchor to head (the caret). It moves with the
   * document, and is told at most ten times a second. Null: nowhere.
   */
  setPresence(place: OwnPlace | null): void {
    if (place) {
      const { cell = null, anchor = null, head = null, ...rest } = place;
      const told = Object.entries(rest).filter(([, value]) => value !== undefined);
      const more = Object.fromEntries(told) as Record<string, Json>;
      this.sync.saying.set({ cell, anchor, head, more });
    } else {
      this.sync.saying.set(null);
    }
    this.sync.pumpSoon();
  }

  // The end.

  /**
   * Stop following the document, when all who opened it have said so. What is on its way is still
   * waited for, a moment; what is left then stays in the store, if there is one.
   */
  dispose(): void {
    if (this.uses > 0 && --this.uses === 0 && !this.closed) {
      if (this.live && this.unsaved && !this.readOnly) {
        const end = () => (this.uses ? undefined : this.end());
        this.goodbye.start(this.sync.link.patience, end);
        void this.acknowledged().then(end, end);
      } else {
        this.end();
      }
    } else if (this.uses === 0) {
      this.ended(this);
    }
  }

  /** For the connection: somebody else opens it, too. */
  share(): this {
    this.uses++;
    this.goodbye.stop();
    return this;
  }

  private end(): void {
    if (this.live) {
      this.sync.link.send({ type: 'close', doc: this.sync.state.doc });
    }
    this.goodbye.stop();
    this.sync.fail(this.closedError());
    this.sync.listeners.clear();
    this.ended(this);
  }

  private closedError(): DocumentError {
    return new DocumentError('closed', `'${this.path}' is closed`);
  }

  // What may be done.

  /** Throw `DocumentError` unless the server hears us now. */
  private checkLive(): void {
    if (this.problem) {
      throw this.problem;
    }
    if (!this.live) {
      throw new DocumentError('offline', 'there is no connection: the kernel can’t be asked now');
    }
  }

  private checkMay(ops: Change): void {
    if (this.closed) {
      throw this.problem ?? this.closedError();
    }
    if (!this.sync.state.begun) {
      throw new DocumentError('opening', `'${this.path}' is not there yet`);
    }
    if (ops.at(-1)?.op === 'run') {
      this.checkLive();
    }
    if (this.readOnly && !onlyRuns(ops)) {
      throw new DocumentError('forbidden', `'${this.path}' may only be read`);
    }
  }
}
