/** Who wants to hear of something. */

import { report } from './errors.js';

/** Functions to call, in the order in which they were added. */
export class Listeners<T> {
  private readonly all = new Set<(value: T) => void>();

  /** Call this one, too. Returns what ends it. */
  add(listener: (value: T) => void): () => void {
    this.all.add(listener);
    return () => void this.all.delete(listener);
  }

  /** Call them all. What one throws is told on the console, and the others are called. */
  call(value: T): void {
    for (const listener of [...this.all]) {
      try {
        listener(value);
      } catch (error) {
        report(error);
      }
    }
  }

  /** Forget them all. */
  clear(): void {
    this.all.clear();
  }
}
