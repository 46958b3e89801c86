/** What had no place any more when a document came back: shown above it, to be copied. */

import { Clipboard, Notification } from '@jupyterlab/apputils';
import type { DocumentWidget } from '@jupyterlab/docregistry';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import type { Conflict } from 'ot-jupyter-core';

import type { LiveDocument } from './documents.js';

/** One kept text, with a button that copies it and one that puts it away. */
class ConflictWidget extends Widget {
  constructor(conflict: Conflict, trans: TranslationBundle) {
    super();
    this.addClass('ot-Conflict');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('Your text that had no place'));
    const words = document.createElement('p');
    words.textContent = trans.__(
      'While you were away, the place that you typed in was removed. Your text is kept here:'
    );
    const kept = document.createElement('pre');
    kept.textContent = conflict.cell.source;
    kept.tabIndex = 0;
    const copy = button(trans.__('Copy'), () => {
      Clipboard.copyToSystem(conflict.cell.source);
      copy.textContent = trans.__('Copied');
    });
    const close = button(trans.__('Put away'), () => this.dispose());
    const buttons = document.createElement('div');
    buttons.append(copy, close);
    this.node.append(words, kept, buttons);
  }
}

function button(label: string, action: () => void): HTMLButtonElement {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = 'jp-mod-styled';
  node.textContent = label;
  node.onclick = action;
  return node;
}

/** Shows the conflict copies of a document above it, and says what was refused. Returns how to stop it. */
export function followConflicts(
  widget: DocumentWidget,
  { session }: LiveDocument,
  trans: TranslationBundle
): () => void {
  const add = (conflict: Conflict): void => {
    widget.contentHeader.addWidget(new ConflictWidget(conflict, trans));
  };
  session.conflicts.forEach(add);
  return session.subscribe(event => {
    if (event.type === 'conflict') {
      add(event.conflict);
    } else if (event.type === 'refused') {
      const words = trans.__(
        'The server refused a change, and it was undone here: %1',
        event.error.message
      );
      Notification.error(words);
    }
  });
}
