/** The first cell of an empty notebook. */

import type { YNotebook } from '@jupyter/ydoc';
import type { Session } from 'ot-jupyter-core';

/**
 * Give an empty notebook a code cell, as JupyterLab does for notebooks of its own. Its id is made of
 * the document's, so two who open a new notebook at once make one cell, not two.
 */
export function addFirstCell(session: Session, model: YNotebook): void {
  if (model.isDisposed || model.cells.length > 0 || session.readOnly) {
    return;
  }
  const id = `first-${session.id}`.slice(0, 64);
  const insert = (): void => {
    model.insertCell(0, { id, cell_type: 'code', source: '', metadata: {} });
  };
  model.transact(insert, false); // nobody's to undo
}
