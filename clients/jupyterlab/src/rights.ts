/** Who may not write sees so where they would. */

import type { NotebookPanel } from '@jupyterlab/notebook';

import type { LiveDocument } from './documents.js';
import { oncePerFrame } from './frames.js';

/** Make the cells of a notebook as writable as the document is. Returns how to stop it. */
export function followRights(panel: NotebookPanel, { session }: LiveDocument): () => void {
  let locked = false;
  const refresh = oncePerFrame(() => {
    if (!panel.isDisposed && (session.readOnly || locked)) {
      locked = session.readOnly;
      for (const cell of panel.content.widgets) {
        cell.readOnly = locked || cell.model.getMetadata('editable') === false;
      }
    }
  });
  const stop = session.subscribe(refresh);
  refresh();
  return stop;
}
