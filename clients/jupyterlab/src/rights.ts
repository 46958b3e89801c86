/** Who may not write sees so where they would. */

import type { DocumentWidget } from '@jupyterlab/docregistry';
import type { FileEditor } from '@jupyterlab/fileeditor';
import type { NotebookPanel } from '@jupyterlab/notebook';

import type { LiveDocument } from './documents.js';
import { oncePerFrame } from './frames.js';
import { isNotebookPath } from './provider.js';

/**
 * Make the cells of a notebook as writable as the document is, and start no kernel for who only
 * looks. Returns how to stop it.
 */
export function followRights(panel: NotebookPanel, { session }: LiveDocument): () => void {
  let locked = false;
  const { sessionContext } = panel;
  session.ready.then(
    () => {
      if (session.readOnly) {
        sessionContext.kernelPreference = {
          ...sessionContext.kernelPreference,
          shouldStart: false
        };
      }
    },
    () => undefined // whoever asked for the content is told
  );
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

/**
 * Make an editor as writable as its document is; a notebook shown as text is not. Returns how to
 * stop it.
 */
export function followFileRights(
  widget: DocumentWidget<FileEditor>,
  live: LiveDocument | null
): () => void {
  const { editor } = widget.content;
  const refresh = (): void => {
    const locked = live === null ? isNotebookPath(widget.context.path) : live.session.readOnly;
    if (!widget.isDisposed && editor.getOption('readOnly') !== locked) {
      editor.setOption('readOnly', locked);
    }
  };
  // The user's settings are given to each editor after it was made, and this is one of them.
  widget.node.addEventListener('focusin', refresh);
  void widget.context.ready.then(refresh);
  return live === null
    ? () => undefined
    : live.session.subscribe(event => {
        if (event.type === 'status' || event.type === 'reset') {
          refresh();
        }
      });
}
