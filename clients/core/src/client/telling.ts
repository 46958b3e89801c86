/** Status and presence are told once for all that happens in one go, and only if they are others. */

/** See the module. `status` gives all that the status tells of, as JSON. */
export class Telling {
  /** Somebody came, went or moved. */
  presenceChanged = false;
  private soon = false;
  private told = '';

  constructor(
    private readonly status: () => readonly unknown[],
    private readonly tell: (type: 'status' | 'presence') => void
  ) {}

  /** Something happened that may concern somebody. */
  happened(): void {
    if (!this.soon) {
      this.soon = true;
      queueMicrotask(() => this.look());
    }
  }

  private look(): void {
    this.soon = false;
    const status = JSON.stringify(this.status());
    if (status !== this.told) {
      this.told = status;
      this.tell('status');
    }
    if (this.presenceChanged) {
      this.presenceChanged = false;
      this.tell('presence');
    }
  }
}
