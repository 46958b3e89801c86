/** Questions that the server answers, one at a time: those about the kernel. */

import { DocumentError } from './errors.js';
import type { ServerMessage } from './messages.js';
import { Deferred } from './timing.js';

/** A question waits here until the one before it is answered. */
export class Asking {
  private last: Promise<unknown> = Promise.resolve();
  private answer: Deferred<ServerMessage> | null = null;

  /**
   * Ask by calling `send`, which may throw, when it is our turn; returns the answer. Fails with
   * what the server says, or `offline`: if that comes after it was asked, nobody knows whether it
   * was done.
   */
  ask(send: () => void): Promise<ServerMessage> {
    const answered = this.last.then(() => {
      send();
      this.answer = new Deferred();
      return this.answer.promise;
    });
    this.last = answered.catch(() => {});
    return answered;
  }

  /** The server's answer to the question that is asked, if one is. */
  answered(answer: ServerMessage | DocumentError): void {
    const { answer: waiting } = this;
    this.answer = null;
    if (answer instanceof DocumentError) {
      waiting?.reject(answer);
    } else {
      waiting?.resolve(answer);
    }
  }
}
