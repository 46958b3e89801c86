/** What the state machine of a document is made of, and what it tells. */

import type { Cell, Change, Document } from '../transforms/index.js';
import type { ErrorMessage, Head, Kind } from './messages.js';

/** A change that is not acknowledged. Once it was sent its number and meaning stand. */
export interface Pending {
  readonly n: number;
  ops: Change;
  sent: boolean;
}

/** A confirmed entry that can be taken back: the state before it, and how to get there. */
export interface Recent {
  readonly before: Head;
  /** The own number; 0: somebody else's. */
  readonly n: number;
  readonly ops: Change;
  readonly inverse: Change;
}

/**
 * What had no place any more: a cell that somebody removed while text of ours was on its way into
 * it, or brought back while we did. `cell` is the cell as we saw it.
 */
export interface Conflict {
  readonly id: string;
  readonly cell: Cell;
}

/** Whose a change of the document is. `'undo'`: ours, by undo or redo. */
export type Origin = 'local' | 'undo' | 'remote';

/** What the state machine tells. Each is called when the state is already after it. */
export interface Events {
  /** Operations that take the document from what it was to what it is. */
  change(ops: Change, origin: Origin): void;
  conflict(conflict: Conflict): void;
  refused(error: ErrorMessage): void;
  acknowledged(n: number, head: Head): void;
  /** An entry of the log, as it is there, and our number for it (0: somebody else's). */
  entered(n: number, ops: Change): void;
  /** The first document: there was none before. */
  begun(): void;
  /** The log could not tell how it went on, the document came whole. */
  whole(): void;
  /** The runs that our change `n` asked for will not be asked for, or nobody hears of them. */
  cancelled(n: number, code: string, why: string): void;
}

/** How an edit is remembered for undo. */
export interface EditOptions {
  /** The undo stack that it belongs to; null: it can't be undone. Default `''`. */
  scope?: string | null;
  /** One step of undo takes it back together with the newest one of that stack. */
  merge?: boolean;
}

/** All that must survive a reload of the page, as one value. */
export interface Kept {
  client: string;
  path: string;
  kind: Kind | null;
  doc: string;
  epoch: string;
  head: Head;
  confirmed: Document;
  recent: readonly Recent[];
  pending: readonly Readonly<Pending>[];
  nextN: number;
  serverN: number;
  readOnly: boolean;
}

/** Events that nobody hears. */
export const SILENT: Events = {
  change: () => {},
  conflict: () => {},
  refused: () => {},
  acknowledged: () => {},
  entered: () => {},
  begun: () => {},
  whole: () => {},
  cancelled: () => {}
};
