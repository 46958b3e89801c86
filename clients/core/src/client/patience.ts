/** How long to wait for what the server has to answer, and how long before it is asked again. */

import { Timer, pause } from './timing.js';

const MOST_STRIKES = 4; // times that the patience for one answer is doubled

/** Times one thing that is waited for. */
export class Patience {
  private readonly timer = new Timer();
  private awaited = '';
  private strikes = 0; // times in a row that no answer came

  constructor(
    private readonly ms: () => number,
    private readonly lost: () => void
  ) {}

  /** This is waited for now, `''` for nothing. The time runs from when it was first said. */
  watch(awaited: string): void {
    if (awaited === this.awaited) {
      return;
    }
    this.awaited = awaited;
    this.timer.stop();
    if (awaited) {
      // On a slow line a big message takes its time; the second time it gets more.
      this.timer.start(this.ms() * 2 ** Math.min(this.strikes, MOST_STRIKES), () => {
        this.awaited = '';
        this.strikes++;
        this.lost();
      });
    }
  }

  /** It goes on. */
  succeeded(): void {
    this.strikes = 0;
  }
}

/** Holds back what is to be tried again: more and more seldom, until it succeeds. */
export class Retries {
  private readonly timer = new Timer();
  /** Attempts in a row, without success. */
  count = 0;

  constructor(private readonly again: () => void) {}

  /** Whether nothing may be sent now. */
  get holding(): boolean {
    return this.timer.running;
  }

  /** Send nothing for a while. */
  later(): void {
    if (!this.timer.running) {
      this.timer.start(pause(this.count), this.again);
    }
  }

  /** Wait no longer. */
  now(): void {
    this.timer.stop();
  }
}
