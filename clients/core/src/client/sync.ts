/**
 * What keeps one document in step with the server, whatever happens to the line between them.
 *
 * The decisions are those of `ClientDocument`. Here is what it knows nothing of: when to send, how
 * long to wait for an answer, what to try again and when, whom to tell.
 */

import type { Change, Json } from '../transforms/index.js';
import { Asking } from './asking.js';
import { CommListeners, type CommMessage, commsIn } from './comms.js';
import { DocumentError } from './errors.js';
import { randomId } from './keeper.js';
import { Keeping } from './keeping.js';
import { Listeners } from './listeners.js';
import type {
  ClientMessage,
  ErrorMessage,
  Kind,
  OpenMessage,
  OpenedMessage,
  ServerMessage,
  SubmitMessage
} from './messages.js';
import type { Conflict, Origin } from './parts.js';
import { Patience, Retries } from './patience.js';
import { Others } from './presence.js';
import { Saves } from './saves.js';
import { Saying } from './saying.js';
import { ClientDocument } from './state.js';
import type { Store } from './store.js';
import { Telling } from './telling.js';
import { Deferred, Timer, now } from './timing.js';
import { Tracker } from './tracker.js';

const LATER = new Set(['busy', 'store_unavailable', 'file_unavailable', 'no_image']); // no fault of ours
const FINAL = new Set(['forbidden', 'superseded', 'too_large']); // asking again would not help
const MOST_RETRIES = 6; // of one change that is refused for a reason that does not pass by itself
const EXPIRE_MS = 15_000; // between two looks at who is not heard of any more

/** What a session tells. The document is already after it. */
export type SessionEvent =
  | { readonly type: 'change'; readonly ops: Change; readonly origin: Origin }
  | { readonly type: 'reset' }
  | { readonly type: 'status' }
  | { readonly type: 'presence' }
  | { readonly type: 'conflict'; readonly conflict: Conflict }
  | { readonly type: 'refused'; readonly error: DocumentError }
  | { readonly type: 'entered'; readonly n: number; readonly ops: Change }
  | { readonly type: 'comm'; readonly message: CommMessage };

/** What a session needs of its connection. */
export interface Link {
  /** Milliseconds to wait for an answer before the connection is taken to be broken. */
  readonly patience: number;
  readonly online: boolean;
  send(message: ClientMessage): void;
  reconnect(reason: string): void;
}

/** How a session is made; see `Connection.open`. */
export interface SessionOptions {
  kind?: Kind;
  client?: string;
  store?: Store;
}

/** See the module. */
export class Sync {
  state: ClientDocument;
  readonly begun = new Deferred<void>();
  readonly listeners = new Listeners<SessionEvent>();
  readonly tracker = new Tracker(() => this.state);
  readonly asking = new Asking();
  readonly others = new Others();
  readonly comms = new CommListeners();
  readonly saves = new Saves();
  readonly saying = new Saying(() => this.pump());
  readonly conflicts: Conflict[] = [];
  readonly refused: DocumentError[] = [];
  user: Json = null;
  problem: DocumentError | null = null;
  fileProblem: string | null = null;
  committing = true; // the server's store is there
  stopped = false; // for good: what is not acknowledged stays so
  /** An `open` is not answered yet, and the path that it was for. */
  opening = false;
  asked: string;
  private readonly keeping: Keeping;
  private readonly retries = new Retries(() => this.pump());
  private readonly patience: Patience;
  private readonly expiry = new Timer();
  private starting = true; // the store is being looked into
  private distrusted = false; // the document is to be fetched whole
  private shown = false; // there is a document: before that, no change is told
  private pumping = false; // in a moment
  private readonly telling = new Telling(
    () => this.status(),
    type => this.emit({ type })
  );

  constructor(
    readonly link: Link,
    path: string,
    options: SessionOptions
  ) {
    this.asked = path;
    const client = options.client ?? randomId();
    this.state = this.newState(path, client, options.kind ?? null);
    this.keeping = new Keeping(options.store, () => this.state.keep());
    const { patience } = link;
    this.patience = new Patience(
      () => patience,
      () => link.reconnect(`no answer about ${this.state.path}`)
    );
    if (options.store) {
      void this.start(client);
    } else {
      this.starting = false;
      this.pumpSoon();
    }
  }

  private newState(path: string, client: string, kind: Kind | null): ClientDocument {
    const events = {
      change: (ops: Change, origin: Origin) => this.onChange(ops, origin),
      conflict: (conflict: Conflict) => this.onConflict(conflict),
      refused: (message: ErrorMessage) => this.onRefused(message),
      entered: (n: number, ops: Change) => {
        this.tracker.entered(n, ops);
        this.emit({ type: 'entered', n, ops });
      },
      begun: () => {
        this.shown = true;
        this.emit({ type: 'reset' });
        this.begun.resolve();
      },
      whole: () => this.tracker.whole(),
      cancelled: (n: number, code: string, why: string) => this.tracker.cancelled(n, code, why)
    };
    return new ClientDocument(path, client, events, kind);
  }

  /** Look into the store, and go on from what is there. */
  private async start(client: string): Promise<void> {
    const found = await this.keeping.find(this.state.path, this.state.kind, client);
    if (found && !this.stopped) {
      this.state = this.newState(this.state.path, found.keeper.client, this.state.kind);
      if (found.kept) {
        this.state.restore(found.kept);
      }
    }
    this.starting = false;
    if (this.stopped) {
      await this.keeping.leave();
    } else {
      this.attend();
    }
  }

  private get unsaved(): number {
    return this.state.pending.length;
  }

  /** Whether the server follows what we do, and we what it does. */
  get live(): boolean {
    return this.state.live && this.link.online;
  }

  /** Whether the document can't be had, for a reason that does not pass by itself. */
  get hopeless(): boolean {
    return this.problem !== null && !LATER.has(this.problem.code);
  }

  /** For the connection: there is no way to go on. What is not acknowledged stays, unsaved. */
  fail(error: DocumentError): void {
    if (this.stopped) {
      return;
    }
    this.problem = error;
    this.stopped = true;
    this.state.live = this.state.mustOpen = this.opening = false;
    this.begun.reject(error);
    this.saves.answered(error);
    this.asking.answered(error);
    this.tracker.fail(error);
    this.saying.stop();
    this.retries.now();
    this.expiry.stop();
    this.patience.watch('');
    if (!this.starting) {
      void this.keeping.end(this.unsaved > 0);
    }
    this.happened();
  }

  // What the connection tells.

  /** There is a connection: go on. */
  connected(): void {
    this.retries.now();
    this.pump();
    this.happened();
  }

  /** The connection is gone. */
  disconnected(): void {
    this.opening = false;
    this.saves.again();
    this.committing = true;
    this.asking.answered(
      new DocumentError('offline', 'the connection broke before the answer came')
    );
    if (!this.stopped) {
      const first = this.state.pending[0];
      if (first?.n === this.keeping.sealing) {
        first.sent = false; // it was about to be
      }
      this.state.disconnected();
      this.others.clear();
      this.telling.presenceChanged = true;
    }
    this.watch();
    this.happened();
  }

  /** Take a message of the server about this document. */
  receive(message: ServerMessage): void {
    if (this.stopped) {
      return;
    }
    try {
      this.take(message);
    } catch (error) {
      // What the server says does not fit what we have. Never go on from there by guessing.
      console.error(`ot-jupyter: ${this.state.path} is out of step with the server`, error);
      this.distrusted = true;
      this.state.disconnected();
      const why = 'it is out of step with the server, and is fetched whole again';
      this.unavailable(new DocumentError('out_of_step', why));
    }
    this.attend();
  }

  private take(message: ServerMessage): void {
    switch (message.type) {
      case 'error':
        return this.onError(message);
      case 'presence':
        if (this.state.live) {
          this.others.hear(message, this.state, now());
          this.telling.presenceChanged = true;
        }
        return;
      case 'status':
        this.committing = message.committing;
        return;
      case 'file':
        this.fileProblem = message.problem;
        return;
      case 'saved':
        return this.saves.answered(null);
      case 'requested':
      case 'answered':
        return this.asking.answered(message);
      case 'comm':
      case 'comms':
        this.comms.tell(message);
        commsIn(message, true).forEach(one => this.emit({ type: 'comm', message: one }));
        return;
      case 'closed':
        this.state.disconnected();
        return this.unavailable(new DocumentError('closed', message.reason ?? ''));
      case 'opened':
        return this.onOpened(message);
      default:
        return this.follow(message);
    }
  }

  private follow(message: ServerMessage): void {
    const { rev } = this.state.head;
    this.state.receive(message);
    if (this.state.head.rev !== rev) {
      this.retries.count = 0;
      this.patience.succeeded();
      this.telling.presenceChanged =
        this.others.reached(this.state) || this.telling.presenceChanged;
      this.keeping.note(false);
    }
  }

  private onOpened(message: OpenedMessage): void {
    this.opening = false;
    this.committing = true;
    this.user = message.user ?? null;
    this.state.receive(message);
    this.distrusted = false;
    this.problem = null;
    this.others.begin(message.presence ?? [], this.state, now());
    this.telling.presenceChanged = true;
    this.saying.repeat();
    this.keeping.note(false);
    if (this.comms.any) {
      this.hearComms();
    }
  }

  private onError(message: ErrorMessage): void {
    const error = errorOf(message);
    const { of } = message;
    if (error.code === 'superseded' || (error.code === 'forbidden' && of === undefined)) {
      this.fail(error);
    } else if (of === 'save') {
      this.saves.answered(error);
    } else if (of === 'open') {
      this.onNotOpened(message, error);
    } else if (of === 'kernel' || of === 'input') {
      this.asking.answered(error);
    } else if (message.n !== undefined) {
      this.onNotTaken(message, error);
    } else {
      console.warn(`ot-jupyter: ${this.state.path}: ${error.code}: ${error.message}`);
    }
  }

  private onNotTaken(message: ErrorMessage, error: DocumentError): void {
    this.state.receive(message);
    if (!this.state.mustOpen) {
      return; // its number is used up, or it is to be sent in another form
    }
    this.retries.count++;
    const hopeless = FINAL.has(error.code) || this.retries.count > MOST_RETRIES;
    if (hopeless && !LATER.has(error.code)) {
      this.fail(error);
    } else if (this.retries.count > 1 || LATER.has(error.code)) {
      this.retries.later();
    }
  }

  private onNotOpened(message: ErrorMessage, error: DocumentError): void {
    this.opening = false;
    if ((message.path ?? this.asked) !== this.state.path) {
      this.state.mustOpen = true; // it was renamed while we asked
    } else if (error.code === 'forbidden') {
      this.fail(error);
    } else {
      this.state.disconnected();
      this.unavailable(error);
    }
  }

  /** The document can't be had now: ask again, more and more seldom. */
  private unavailable(error: DocumentError): void {
    this.problem = error;
    this.retries.count++;
    if (!LATER.has(error.code)) {
      this.begun.reject(error);
      this.saves.answered(error);
    }
    this.retries.later();
  }

  // What the state machine tells.

  private onChange(ops: Change, origin: Origin): void {
    this.telling.presenceChanged ||= this.others.here.size > 0;
    this.others.moved(ops);
    this.saying.moved(ops);
    if (this.shown) {
      this.emit({ type: 'change', ops, origin });
    }
  }

  private onConflict(conflict: Conflict): void {
    this.conflicts.push(conflict);
    this.emit({ type: 'conflict', conflict });
  }

  private onRefused(message: ErrorMessage): void {
    if (message.taken && message.n !== undefined) {
      const error = errorOf(message);
      this.refused.push(error);
      this.tracker.refused(message.n, error);
      this.emit({ type: 'refused', error });
    }
  }

  // What goes out.

  /** Something happened: send what there is to send, tell those who wait. */
  attend(edited = false): void {
    if (edited) {
      this.keeping.note(!this.live);
    }
    this.pumpSoon();
    this.watch();
    this.happened();
  }

  /** Send in a moment: what is done in one go travels in one message. */
  pumpSoon(): void {
    if (!this.pumping) {
      this.pumping = true;
      queueMicrotask(() => this.pump());
    }
  }

  private pump(): void {
    this.pumping = false;
    if (this.stopped || this.starting || this.retries.holding || !this.link.online) {
      return;
    }
    for (let message; (message = this.nextMessage());) {
      this.link.send(message);
    }
    if (this.state.live) {
      this.sendPresence();
      this.sendSave();
    }
    this.watch();
  }

  private nextMessage(): OpenMessage | SubmitMessage | null {
    const next = this.state.mustOpen ? null : this.state.next();
    if (next) {
      next.sent = true; // no more is composed into it: it is written, and sent, as it is
      if (!this.keeping.maySend(next.n, () => this.pump())) {
        return null;
      }
    }
    const message = this.state.outgoing();
    if (message?.type === 'open') {
      this.opening = true;
      this.asked = message.path;
      return this.distrusted && message.known ? { ...message, known: [] } : message;
    }
    const place = message && this.unsaved === 1 ? this.saying.withChange() : undefined;
    return message && place ? { ...message, presence: place } : message;
  }

  /** With changes on their way our offsets are of no revision yet: then they go after them. */
  private sendPresence(): void {
    const presence = this.unsaved ? undefined : this.saying.word(this.state.head.rev);
    if (presence !== undefined) {
      this.link.send({ type: 'presence', doc: this.state.doc, presence });
    }
  }

  private sendSave(): void {
    if (this.saves.due(this.state.pending)) {
      this.link.send({ type: 'save', doc: this.state.doc });
    }
  }

  /** Say whether we want to hear of comms. */
  hearComms(): void {
    if (this.live) {
      this.link.send({ type: 'comms', doc: this.state.doc, on: this.comms.any });
    }
  }

  /** Time what the server has to answer: an `open`, and the change in flight. */
  private watch(): void {
    if (this.opening) {
      this.patience.watch('open');
    } else if (this.state.inFlight && this.committing && !this.stopped) {
      this.patience.watch(`submit ${this.state.pending[0]?.n}`);
    } else {
      this.patience.watch('');
    }
  }

  // Whom to tell.

  private emit(event: SessionEvent): void {
    this.listeners.call(event);
  }

  private happened(): void {
    if (this.others.here.size && !this.expiry.running && !this.stopped) {
      this.expiry.start(EXPIRE_MS, () => {
        this.telling.presenceChanged = this.others.expire(now()) || this.telling.presenceChanged;
        this.happened();
      });
    }
    this.telling.happened();
  }

  private status(): unknown[] {
    const { state, live, stopped, committing, fileProblem, problem, conflicts } = this;
    const seen = [state.begun, state.path, state.readOnly, state.head.rev, state.pending.length];
    const ours = [live, this.link.online, stopped, committing, fileProblem, problem?.message];
    return [...seen, ...ours, conflicts.length];
  }
}

function errorOf(message: ErrorMessage): DocumentError {
  return new DocumentError(message.code, message.message, message.pointer ?? '');
}
