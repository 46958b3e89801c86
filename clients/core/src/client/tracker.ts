/** What became of what was asked of the kernel: runs, and requests such as a restart. No clock. */

import { type Document, type Json, isNotebook } from '../transforms/index.js';
import { DocumentError } from './errors.js';
import { Asked, type Running } from './runs.js';
import type { ClientDocument } from './state.js';
import type { Change } from '../transforms/index.js';
import { Deferred } from './timing.js';

const REMEMBERED = 64; // requests whose end is known

/** See the module. `of` gives the document's state machine, which tells it of all that happens. */
export class Tracker {
  private asked: Asked[] = [];
  private readonly ended = new Map<string, string>(); // requests that were carried out: errors
  private readonly waiting = new Map<string, Deferred<Json>>();

  constructor(private readonly of: () => ClientDocument) {}

  /** The runs that our change `n` asks for. */
  follow(n: number, cells: readonly string[]): Running {
    const asked = new Asked(n, cells);
    this.asked.push(asked);
    return asked;
  }

  /** When a request is carried out: the document's `kernel` then. Fails with `DocumentError`. */
  carriedOut(request: string): Promise<Json> {
    const waiting = this.waiting.get(request) ?? new Deferred<Json>();
    this.waiting.set(request, waiting);
    this.settleRequests();
    return waiting.promise;
  }

  /** Nothing more will be heard. */
  fail(error: DocumentError): void {
    this.asked.forEach(one => one.fail(error));
    this.waiting.forEach(one => one.reject(error));
    this.asked = [];
    this.waiting.clear();
  }

  /** Our change `n` was refused. */
  refused(n: number, error: DocumentError): void {
    this.drop(n, asked => asked.fail(error));
  }

  /** See `Events.cancelled`. */
  cancelled(n: number, code: string, why: string): void {
    this.drop(n, asked => {
      if (code === 'lost') {
        asked.lose(why, this.of().head.rev);
        asked.settle();
      } else {
        asked.fail(new DocumentError(code, why));
      }
    });
  }

  /** See `Events.entered`. */
  entered(n: number, ops: Change): void {
    const { confirmed, head } = this.of();
    if (ops.some(one => one.path.startsWith('/kernel'))) {
      this.noteDone(confirmed);
    }
    for (const asked of this.asked) {
      if (n && n === asked.n && !asked.batch) {
        asked.committed(this.batchOf(n), ops, confirmed, head.rev);
      } else if (asked.batch) {
        asked.entered(ops, confirmed, head.rev);
      }
    }
    this.settleRuns();
  }

  /** See `Events.whole`. */
  whole(): void {
    const { confirmed, pending, head } = this.of();
    this.noteDone(confirmed);
    const unsent = new Set(pending.map(one => one.n));
    for (const asked of this.asked.filter(one => !unsent.has(one.n))) {
      asked.batch ||= this.batchOf(asked.n);
      asked.look(confirmed, head.rev);
    }
    this.settleRuns();
  }

  private batchOf(n: number): string {
    return `${this.of().epoch}:${this.of().client}:${n}`;
  }

  private drop(n: number, tell: (asked: Asked) => void): void {
    this.asked.filter(one => one.n === n).forEach(tell);
    this.asked = this.asked.filter(one => one.n !== n);
  }

  private settleRuns(): void {
    this.asked.forEach(one => one.settle());
    this.asked = this.asked.filter(one => !one.ended);
  }

  private noteDone(document: Document): void {
    const done = isNotebook(document) ? document.kernel?.done : undefined;
    if (typeof done !== 'object' || done === null || Array.isArray(done)) {
      return;
    }
    this.ended.set(String(done.request), typeof done.error === 'string' ? done.error : '');
    for (const oldest of [...this.ended.keys()].slice(0, -REMEMBERED)) {
      this.ended.delete(oldest);
    }
    this.settleRequests();
  }

  private settleRequests(): void {
    for (const [request, waiting] of this.waiting) {
      const error = this.ended.get(request);
      if (error === undefined) {
        continue;
      }
      this.waiting.delete(request);
      if (error) {
        waiting.reject(new DocumentError('kernel_unavailable', error));
      } else {
        const { confirmed } = this.of();
        waiting.resolve((isNotebook(confirmed) && confirmed.kernel) || {});
      }
    }
  }
}
