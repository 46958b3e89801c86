/** When a document's record is written: what is in flight before it is sent, the rest soon. */

import { type Found, type Keeper, findRecord } from './keeper.js';
import type { Kind } from './messages.js';
import type { Kept } from './parts.js';
import type { Store } from './store.js';
import { Timer } from './timing.js';

const SOON_MS = 100; // for what the server knows, or will be told in a moment

/**
 * One document's record. A store that fails is given up: what is typed goes on without it, as it
 * does where there is none.
 */
export class Keeping {
  private keeper: Keeper | null = null;
  private written = 0; // changes up to this number are in the store as they are sent
  private writing = 0;
  private readonly timer = new Timer();

  constructor(
    private readonly store: Store | undefined,
    private readonly keep: () => Kept
  ) {}

  /** What a page that is gone left of this document. Null: there is no store. */
  async find(path: string, kind: Kind | null, client: string): Promise<Found | null> {
    try {
      const found = this.store ? await findRecord(this.store, path, kind, client) : null;
      this.keeper = found?.keeper ?? null;
      this.written = Math.max(0, ...(found?.kept?.pending ?? []).filter(sent).map(one => one.n));
      return found;
    } catch (error) {
      this.giveUp(error);
      return null;
    }
  }

  /** Whether change `n` may be sent. If not, `then` is called when it may. */
  maySend(n: number, then: () => void): boolean {
    if (!this.keeper || n <= this.written) {
      return true;
    }
    if (this.writing !== n) {
      this.writing = n;
      void this.write().then(() => {
        this.written = Math.max(this.written, n);
        this.writing = 0;
        then();
      });
    }
    return false;
  }

  /** The number of the change that is being written to be sent; 0: none. */
  get sealing(): number {
    return this.writing;
  }

  /** Something is to be kept: at once, or soon. */
  note(atOnce: boolean): void {
    if (!this.keeper) {
      return;
    }
    if (atOnce) {
      void this.write();
    } else if (!this.timer.running) {
      this.timer.start(SOON_MS, () => void this.write());
    }
  }

  /** Let go of the record as it is: nothing was done with it. */
  async leave(): Promise<void> {
    const { keeper } = this;
    this.keeper = null;
    await keeper?.close();
  }

  /** Let go of the record; if nothing is pending, forget it. */
  async end(pending: boolean): Promise<void> {
    this.timer.stop();
    if (pending) {
      await this.write();
    }
    const { keeper } = this;
    this.keeper = null;
    try {
      await (pending ? undefined : keeper?.forget());
      await keeper?.close();
    } catch (error) {
      this.giveUp(error);
    }
  }

  private async write(): Promise<void> {
    this.timer.stop();
    try {
      await this.keeper?.write(this.keep);
    } catch (error) {
      this.giveUp(error);
    }
  }

  private giveUp(error: unknown): void {
    console.warn('ot-jupyter: nothing is kept for a reload of the page', error);
    void this.keeper?.close();
    this.keeper = null;
  }
}

function sent(one: { sent: boolean }): boolean {
  return one.sent;
}
