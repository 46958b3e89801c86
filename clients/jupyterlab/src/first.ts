/** The first cell of an empty notebook. */

import { newCell, type NotebookDocument, type Session } from 'ot-jupyter-core';

/**
 * Give an empty notebook a code cell, as JupyterLab does for notebooks of its own. Its id is made of
 * the document's, so two who open a new notebook at once make one cell, not two.
 */
export function addFirstCell(session: Session): void {
  const { order } = session.document as NotebookDocument;
  if (order.length > 0 || session.readOnly) {
    return;
  }
  const id = `first-${session.id}`.slice(0, 64);
  const value = { ...newCell('code', ''), id };
  session.edit([{ op: 'add', path: `/cells/${id}`, index: 0, value }], { scope: null });
}
