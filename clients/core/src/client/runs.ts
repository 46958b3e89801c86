/** Runs of cells, as who asked for them sees them. */

import {
  type Change,
  type Document,
  type Json,
  type NotebookDocument,
  isNotebook,
  segments
} from '../transforms/index.js';
import { isOfOrder } from './changes.js';
import type { DocumentError } from './errors.js';

/**
 * How a run stands: `aborted`: it was not run to its end, or not at all; `lost`: nobody knows how
 * it ended.
 */
export type RunState = 'queued' | 'running' | 'ok' | 'error' | 'aborted' | 'lost';

/**
 * One run of one cell. `reason` says in words why it is so, where there is something to say;
 * `outputs` are those at its end, as nbformat has them; `rev` is the revision that this was read
 * from.
 */
export interface Run {
  readonly cell: string;
  readonly state: RunState;
  readonly executionCount: number | null;
  readonly reason: string;
  readonly outputs: readonly Json[];
  readonly rev: number;
}

/**
 * Runs that were asked for. `done` is kept when all have ended, in the order in which they were
 * asked for; it fails with `DocumentError` if they were not asked for after all: the connection
 * broke before (`offline`), it is not permitted (`forbidden`), the change was refused.
 */
export interface Running {
  readonly runs: readonly Run[];
  readonly done: Promise<Run[]>;
}

type Execution = Readonly<Record<string, Json>>;

const ENDED: ReadonlySet<string> = new Set(['ok', 'error', 'aborted', 'lost']);
const REMOVED = 'its cell was removed';
const NO_CODE = 'its cell is no code cell any more';
const FORGOTTEN = 'how it ended is not in the log any more';

/** Whether a run is over. */
export function hasEnded(run: Run): boolean {
  return ENDED.has(run.state);
}

/** The runs that a cell's `execution` tells of: the one it is about, and those that wait. */
export function runsIn(execution: Execution): Execution[] {
  if (!('run' in execution)) {
    return [];
  }
  const next = Array.isArray(execution.next) ? (execution.next as Execution[]) : [];
  return [execution, ...next];
}

/**
 * The runs that one change asked for. The log tells of them; a cell may be asked to run again in
 * the very entry that ends a run of it, so what counts is what was written, not what stands.
 *
 * `batch` is the name that the log has for these runs, empty until they are in it.
 */
export class Asked implements Running {
  batch = '';
  readonly done: Promise<Run[]>;
  private readonly byCell: Map<string, Run>;
  private finish: (runs: Run[]) => void = () => {};
  private giveUp: (error: DocumentError) => void = () => {};

  constructor(
    readonly n: number,
    cells: readonly string[]
  ) {
    this.byCell = new Map(cells.map(cell => [cell, newRun(cell, 'queued', '', 0)]));
    this.done = new Promise((resolve, reject) => {
      this.finish = resolve;
      this.giveUp = reject;
    });
    this.done.catch(() => {}); // nobody has to wait for it
  }

  get runs(): readonly Run[] {
    return [...this.byCell.values()];
  }

  get ended(): boolean {
    return this.runs.every(hasEnded);
  }

  /** They never will be asked for, or no more can be heard of them. */
  fail(error: DocumentError): void {
    this.giveUp(error);
  }

  /** Tell who waits, if all have ended. */
  settle(): void {
    if (this.ended) {
      this.finish([...this.runs]);
    }
  }

  /** The change is in the log, as these operations; `document` is the one after it. */
  committed(batch: string, ops: Change, document: Document, rev: number): void {
    this.batch = batch;
    const left = new Set(ops.filter(one => one.op === 'run').map(one => segments(one.path)[1]));
    for (const cell of this.byCell.keys()) {
      if (!left.has(cell)) {
        this.end(cell, 'aborted', REMOVED, rev);
      } else if (cellOf(document, cell)?.cell_type !== 'code') {
        this.end(cell, 'aborted', NO_CODE, rev);
      }
    }
  }

  /** An entry after it; `document` is the one after that. */
  entered(ops: Change, document: Document, rev: number): void {
    for (const one of ops) {
      const [root, cell = '', field, ...deeper] = segments(one.path);
      if (root !== 'cells' || !this.byCell.has(cell)) {
        continue;
      }
      if (one.op === 'remove' && isOfOrder(one)) {
        this.cellRemoved(cell, rev);
      } else if (one.op === 'replace' && field === 'execution' && !deeper.length) {
        this.note(cell, one.value as Execution, document, rev);
      }
    }
  }

  /** The document came whole: the entries that led to it are not known. */
  look(document: Document, rev: number): void {
    for (const id of this.byCell.keys()) {
      const cell = cellOf(document, id);
      if (!cell) {
        this.cellRemoved(id, rev);
      } else if (!this.note(id, cell.execution, document, rev)) {
        this.end(id, 'lost', FORGOTTEN, rev);
      }
    }
  }

  /** Nobody will hear of them any more. */
  lose(reason: string, rev: number): void {
    for (const cell of this.byCell.keys()) {
      this.end(cell, 'lost', reason, rev);
    }
  }

  private cellRemoved(cell: string, rev: number): void {
    const started = this.byCell.get(cell)?.state === 'running';
    this.end(cell, started ? 'lost' : 'aborted', REMOVED, rev);
  }

  private end(cell: string, state: RunState, reason: string, rev: number): void {
    const run = this.byCell.get(cell);
    if (run && !hasEnded(run)) {
      this.byCell.set(cell, newRun(cell, state, reason, rev));
    }
  }

  /** Whether this `execution` tells of our run of the cell; if so, it is noted. */
  private note(id: string, execution: Execution, document: Document, rev: number): boolean {
    const mine = runsIn(execution).filter(run => run.batch === this.batch);
    for (const told of mine) {
      const known = this.byCell.get(id);
      if (known && !hasEnded(known)) {
        this.byCell.set(id, runAsTold(id, told, document, rev));
      }
    }
    return mine.length > 0;
  }
}

function newRun(cell: string, state: RunState, reason: string, rev: number): Run {
  return { cell, state, executionCount: null, reason, outputs: [], rev };
}

function runAsTold(id: string, told: Execution, document: Document, rev: number): Run {
  const reason = typeof told.reason === 'string' ? told.reason : '';
  const run = newRun(id, told.state as RunState, reason, rev);
  const cell = cellOf(document, id);
  if (!hasEnded(run) || !cell || !('started' in told)) {
    return run;
  }
  return { ...run, outputs: cell.outputs, executionCount: cell.execution_count };
}

function cellOf(document: Document, id: string): NotebookDocument['cells'][string] | undefined {
  return isNotebook(document) && Object.hasOwn(document.cells, id) ? document.cells[id] : undefined;
}
