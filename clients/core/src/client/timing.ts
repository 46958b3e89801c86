/** Waiting. All times are in milliseconds. */

const FIRST_MS = 100;
const LONGEST_MS = 15_000;

/**
 * How long to wait before attempt `attempt` (from 0): twice as long each time, and never in step
 * with others who lost the same server.
 */
export function pause(attempt: number): number {
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 30)) * (0.5 + Math.random() / 2);
}

/** A clock that only goes on. */
export function now(): number {
  return performance.now();
}

/** One thing that is to happen later, or not. */
export class Timer {
  private id: ReturnType<typeof setTimeout> | null = null;

  get running(): boolean {
    return this.id !== null;
  }

  /** Do it then, and not when it was to be done before. */
  start(ms: number, what: () => void): void {
    this.stop();
    this.id = setTimeout(() => {
      this.id = null;
      what();
    }, ms);
  }

  stop(): void {
    if (this.id !== null) {
      clearTimeout(this.id);
      this.id = null;
    }
  }
}

/** A promise and what keeps it. Nobody has to hear of its failure. */
export class Deferred<T> {
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;
  readonly promise = new Promise<T>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });

  constructor() {
    this.promise.catch(() => {});
  }
}
