/**
 * What the bindings of notebooks and files share: which of the session's changes the view lacks, and
 * when it may have them.
 *
 *     shown ──(held)──> session.document
 *
 * `shown` is what the view shows. What the session tells is applied to the view at once, or held
 * back while the view is being changed. What the user does meanwhile is made for `shown`: it goes
 * over what is held, as the later one.
 */

import type { YDocument, DocumentChange } from '@jupyter/ydoc';
import {
  apply,
  transformChanges,
  type Change,
  type Document,
  type Session,
  type SessionEvent
} from 'ot-jupyter-core';
import type * as Y from 'yjs';

const MERGE_MS = 500; // of typing without a pause is one step of undo, as in Yjs

/** What a transaction of the user did. */
export interface Local {
  readonly ops: Change;
  /** The undo stack; null: it can't be undone. */
  readonly scope: string | null;
  /** Whether the view has to be made equal to the document again. */
  readonly wrong: boolean;
}

/** How a binding is made. */
export interface BindingOptions {
  /** Milliseconds of a clock. */
  now?: () => number;
}

/** See the module. */
export abstract class Binding<D extends Document> {
  protected shown: D | null = null;
  /** What the last step of undo did, until the view has shown where. */
  protected undone: Change = [];
  private held: Change = [];
  private wrong = true; // the view shows something else than `shown`
  private holds = 0;
  private busy = false; // Yjs is in a transaction
  private flushing = false;
  private waiting = false; // for the next microtask
  private sent: Change | null = null; // what we are just telling the session
  private typed = { scope: '', at: -Infinity };
  private disposed = false;
  private readonly now: () => number;
  private readonly unsubscribe: () => void;

  protected constructor(
    protected readonly session: Session,
    private readonly model: YDocument<DocumentChange>,
    { now = () => Date.now() }: BindingOptions
  ) {
    this.now = now;
    const { ydoc } = model;
    ydoc.on('beforeAllTransactions', this.onBegin);
    ydoc.on('afterAllTransactions', this.onEnd);
    ydoc.on('afterTransaction', this.onTransaction);
    this.unsubscribe = session.subscribe(event => this.onEvent(event));
    session.ready.then(
      () => this.flush(),
      () => undefined // who opened it is told
    );
  }

  /** Whether the document is of the kind that the view shows. */
  protected abstract fits(document: Document): boolean;
  /** What a transaction of the user did to the view, which showed `shown`; null: nothing. */
  protected abstract read(transaction: Y.Transaction, shown: D): Local | null;
  /** Show a change that takes `before` to `after`. */
  protected abstract write(ops: Change, before: D, after: D): void;
  /** Make the view equal to the document, whatever it shows. */
  protected abstract show(document: D): void;

  /** From now on changes of others wait: an input method composes. */
  hold(): void {
    this.holds += 1;
  }

  /** The end of `hold`. */
  release(): void {
    this.holds -= 1;
    this.flush();
  }

  /** Let go of the session and the model; both stay as they are. */
  dispose(): void {
    if (!this.disposed) {
      this.disposed = true;
      const { ydoc } = this.model;
      ydoc.off('beforeAllTransactions', this.onBegin);
      ydoc.off('afterAllTransactions', this.onEnd);
      ydoc.off('afterTransaction', this.onTransaction);
      this.unsubscribe();
    }
  }

  /** Change the view in a transaction that is ours. */
  protected ours(body: () => void): void {
    this.model.ydoc.transact(body, this);
  }

  /** Bring the view up to date soon, when what happens now is over. */
  protected soon(): void {
    if (!this.waiting) {
      this.waiting = true;
      queueMicrotask(() => {
        this.waiting = false;
        this.flush();
      });
    }
  }

  private readonly onBegin = (): void => {
    this.busy = true;
  };

  private readonly onEnd = (): void => {
    this.busy = false;
    if (!this.flushing) {
      this.soon(); // not now: an editor may be in the midst of an update
    }
  };

  // From the session.

  private onEvent(event: SessionEvent): void {
    if (event.type === 'reset') {
      this.wrong = true;
      this.flush();
    } else if (event.type === 'status') {
      this.flush();
    } else if (event.type === 'change') {
      // Behind what we send the session may do more.
      const ops = event.ops.slice(this.sent?.length ?? 0);
      this.sent = null;
      this.held.push(...ops.filter(one => one.op !== 'run'));
      if (event.origin === 'undo') {
        this.undone = ops;
        this.typed.at = -Infinity;
      }
      this.flush();
    }
  }

  /** Show what the view lacks, if it may be changed now. */
  private flush(): void {
    const document: Document = this.session.document;
    const closed = this.disposed || this.holds > 0 || this.busy || this.flushing;
    if (closed || this.session.id === '' || !this.fits(document)) {
      return;
    }
    this.flushing = true;
    try {
      const [before, ops] = [this.shown, this.held];
      const after = document as D;
      [this.shown, this.held] = [after, []];
      if (this.wrong || before === null || !this.written(ops, before as D, after)) {
        this.wrong = false;
        this.show(after);
      }
      this.tellDirty();
    } finally {
      this.flushing = false;
    }
    if (this.held.length > 0 || this.wrong) {
      this.soon();
    }
  }

  /** Whether the view could be brought from one state to the other by the operations. */
  private written(ops: Change, before: D, after: D): boolean {
    try {
      this.write(ops, before, after);
      return true;
    } catch (error) {
      console.error('ot-jupyter: the view is shown anew:', error);
      return false;
    }
  }

  private tellDirty(): void {
    const dirty = this.session.unsaved > 0;
    if (this.model.dirty !== dirty) {
      this.ours(() => {
        this.model.dirty = dirty;
      });
    }
  }

  // From the view.

  private readonly onTransaction = (transaction: Y.Transaction): void => {
    if (transaction.origin === this || this.shown === null || this.wrong) {
      return;
    }
    try {
      const local = this.read(transaction, this.shown);
      if (local !== null) {
        this.send(local, this.shown);
      }
    } catch (error) {
      // It may only be read, or is no text that can be kept: the view goes back to what there is.
      console.warn('ot-jupyter: this change is not possible:', error);
      this.wrong = true;
    }
  };

  private send({ ops, scope, wrong }: Local, shown: D): void {
    this.wrong = wrong;
    if (ops.length === 0) {
      return;
    }
    const seen = ops;
    if (this.held.length > 0) {
      [ops, this.held] = transformChanges(seen, this.held, { later: true });
    }
    this.sent = ops;
    try {
      this.session.edit(ops, { scope, merge: this.joins(ops, scope) });
    } finally {
      this.sent = null;
    }
    // Mostly the view shows all of the document: then it is the same object.
    this.shown = (this.held.length > 0 ? apply(shown, seen) : this.session.document) as D;
  }

  /** Whether this goes on with what was typed last. */
  private joins(ops: Change, scope: string | null): boolean {
    const at = this.now();
    const typing = ops.every(one => one.op === 'edit' && one.path.endsWith('/source'));
    const merge = typing && this.typed.scope === scope && at - this.typed.at < MERGE_MS;
    this.typed = { scope: scope ?? '', at: typing && scope !== null ? at : -Infinity };
    return merge;
  }
}
