/** What goes wrong for a user of the client. */

/**
 * Why a document can't be opened, changed or saved.
 *
 * `code` is one word for programs (`not_found`, `not_a_notebook`, `forbidden`, `superseded`,
 * `offline`, …), `message` one sentence for people, `pointer` the JSON Pointer of the field that is
 * wrong in what was sent, or `''`.
 */
export class DocumentError extends Error {
  override readonly name = 'DocumentError';

  constructor(
    readonly code: string,
    message: string,
    readonly pointer = ''
  ) {
    super(message);
  }
}

/** What a callback threw is the caller's bug: it is told of, and nobody else suffers for it. */
export function report(error: unknown): void {
  console.error('ot-jupyter: a listener failed', error);
}
