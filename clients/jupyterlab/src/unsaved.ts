/** How many edits of ours are not saved. */

import type { Session } from 'ot-jupyter-core';

/**
 * Counts what was done here and is not acknowledged by the server. Several edits travel as one
 * change, so the session's own count would tell less than was done.
 */
export class Unsaved {
  constructor(private readonly session: Session) {
    session.subscribe(event => {
      if (session.unsaved === 0) {
        this.edits = 0;
      } else if (event.type === 'change' && event.origin !== 'remote') {
        this.edits += 1;
      }
    });
  }

  /** Edits, at least one for each change that is on its way; after a reload those alone. */
  get count(): number {
    return Math.max(this.edits, this.session.unsaved);
  }

  private edits = 0;
}
