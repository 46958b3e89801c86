/** Who waits for the file to be written. */

import type { DocumentError } from './errors.js';
import type { Pending } from './parts.js';
import { Deferred } from './timing.js';

/** Requests to save. One message asks for all that wait; the next answer is for all of them. */
export class Saves {
  private waiting: Deferred<void>[] = [];
  private upTo = 0; // the number of the last change that is to be in the file
  private sent = false;

  /** Kept when the file has all changes up to number `upTo`. */
  add(upTo: number): Promise<void> {
    const done = new Deferred<void>();
    this.waiting.push(done);
    this.upTo = upTo;
    this.sent = false;
    return done.promise;
  }

  /** Whether to ask now. If so, it counts as asked. */
  due(pending: readonly Pending[]): boolean {
    if (!this.waiting.length || this.sent || pending.some(one => one.n <= this.upTo)) {
      return false;
    }
    return (this.sent = true);
  }

  /** The connection that it was asked on is gone. */
  again(): void {
    this.sent = false;
  }

  /** Null: the file is written. */
  answered(error: DocumentError | null): void {
    this.sent = false;
    for (const done of this.waiting.splice(0)) {
      if (error) {
        done.reject(error);
      } else {
        done.resolve();
      }
    }
  }
}
