/**
 * Undo and redo of a shared model by the session: one's own edits only, cells too. JupyterLab's
 * editors, menus and commands all call these methods; nothing else of it undoes.
 */

import type { Session } from 'ot-jupyter-core';
import * as Y from 'yjs';

/** What is ours in a notebook, a cell, a file. */
export interface Undoable {
  readonly undoManager: Y.UndoManager | null;
  undo(): boolean;
  redo(): boolean;
  canUndo(): boolean;
  canRedo(): boolean;
  clearUndoHistory(): void;
}

/**
 * Have the session undo. `scope` tells the stack; `stepped` is called after each step that did something. The manager
 * of Yjs records nothing from now on: it would only keep what was deleted.
 */
export function takeOver(
  target: Undoable,
  session: Session,
  scope: () => string,
  stepped: () => void
): void {
  const step = (done: boolean): boolean => {
    if (done) {
      stepped();
    }
    return done;
  };
  target.undo = () => step(session.undo(scope()));
  target.redo = () => step(session.redo(scope()));
  target.canUndo = () => session.canUndo(scope());
  target.canRedo = () => session.canRedo(scope());
  target.clearUndoHistory = () => session.clearUndo();
  if (target.undoManager !== null) {
    target.undoManager.captureTransaction = () => false;
    target.undoManager.clear();
  }
}

/**
 * Have the editors of a text show the place where something was undone: their caret goes there, as
 * it does after an undo of Yjs. `unit` is an offset in UTF-16 units.
 */
export function showPlace(manager: Y.UndoManager | null, ytext: Y.Text, unit: number): void {
  const place = Y.createRelativePositionFromTypeIndex(ytext, unit);
  const meta = { get: () => ({ yanchor: place, yhead: place }) };
  manager?.emit('stack-item-popped', [{ stackItem: { meta } } as never, manager]);
}
