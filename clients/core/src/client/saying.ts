/** When we say where we are: not too often, and again from time to time. */

import type { Change, Json } from '../transforms/index.js';
import { type Place, placeAfter, placeMessage } from './presence.js';
import { Timer, now } from './timing.js';

const PAUSE_MS = 100; // between two words
const REPEAT_MS = 25_000; // so often one says again that one is here

/** Our own place. `due` is called when there may be something to say. */
export class Saying {
  private place: Place | null = null;
  private said = true;
  private notBefore = 0;
  private readonly timer = new Timer();

  constructor(private readonly due: () => void) {}

  /** Be there from now on; null: nowhere. */
  set(place: Place | null): void {
    if (place || this.place) {
      this.place = place;
      this.said = false;
    }
  }

  /** The document was changed. */
  moved(change: Change): void {
    this.place &&= placeAfter(this.place, change);
  }

  /** Nobody knows yet: this is a new connection. */
  repeat(): void {
    this.said = this.place === null;
  }

  /** What goes with a change, if there is something to say: it speaks of the state after it. */
  withChange(): Record<string, Json> | undefined {
    if (this.said || !this.place) {
      return undefined;
    }
    this.note();
    return placeMessage(this.place);
  }

  /** What to say now of revision `rev`; undefined: nothing. If it is too early, `due` comes. */
  word(rev: number): Record<string, Json> | null | undefined {
    if (this.said) {
      return undefined;
    }
    const wait = this.notBefore - now();
    if (wait > 0) {
      this.timer.start(wait, this.due);
      return undefined;
    }
    this.note();
    return this.place && { ...placeMessage(this.place), rev };
  }

  stop(): void {
    this.timer.stop();
  }

  private note(): void {
    this.said = true;
    this.notBefore = now() + PAUSE_MS;
    this.timer.stop();
    if (this.place) {
      this.timer.start(REPEAT_MS, () => {
        this.said = false;
        this.due();
      });
    }
  }
}
