/** `input()` and `getpass()`: a question in the cell, which anybody may answer who may execute. */

import { Notification } from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { PanelLayout } from '@lumino/widgets';
import { Widget } from '@lumino/widgets';
import { isNotebook, type Json, type NotebookDocument, type Session } from 'ot-jupyter-core';

import type { LiveDocument } from './documents.js';
import { oncePerFrame } from './frames.js';

/** What the kernel asks, as it stands in a cell's `execution`. */
interface Question {
  readonly id: string;
  readonly prompt: string;
  readonly password: boolean;
}

function questionOf(execution: Record<string, Json>): Question | null {
  const input = execution['input'];
  if (input === null || typeof input !== 'object' || Array.isArray(input)) {
    return null;
  }
  const { id, prompt, password } = input;
  return typeof id !== 'string'
    ? null
    : { id, prompt: typeof prompt === 'string' ? prompt : '', password: password === true };
}

/** A question and the field for its answer. */
class QuestionWidget extends Widget {
  constructor(
    readonly question: Question,
    private readonly session: Session,
    private readonly trans: TranslationBundle
  ) {
    super({ node: document.createElement('form') });
    this.addClass('ot-Question');
    this.field = document.createElement('input');
    this.field.type = question.password ? 'password' : 'text';
    this.field.autocomplete = 'off';
    this.field.spellcheck = false;
    this.field.className = 'ot-Answer';
    const label = document.createElement('label');
    label.textContent = question.prompt;
    label.append(this.field);
    this.field.setAttribute('aria-label', question.prompt || trans.__('The kernel asks'));
    this.field.placeholder = trans.__('Enter sends the answer');
    this.node.append(label);
    this.node.onsubmit = event => {
      event.preventDefault();
      void this.answer();
    };
    // The notebook's shortcuts are not for what is typed here.
    this.node.addEventListener('keydown', event => event.stopPropagation());
    this.node.dataset['lmSuppressShortcuts'] = 'true';
  }

  /** Take the keyboard. */
  focus(): void {
    this.field.focus();
  }

  private async answer(): Promise<void> {
    this.field.disabled = true;
    try {
      await this.session.answer(this.question.id, this.field.value);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      Notification.warning(this.trans.__('Not answered: %1', why), { autoClose: 5000 });
      this.field.disabled = false;
    }
  }

  private readonly field: HTMLInputElement;
}

/** Shows the questions of a notebook's kernel in its cells. Returns how to stop it. */
export function followQuestions(
  panel: NotebookPanel,
  { session }: LiveDocument,
  trans: TranslationBundle
): () => void {
  const shown = new Map<string, QuestionWidget>(); // by cell
  const refresh = oncePerFrame(() => {
    if (panel.isDisposed || !isNotebook(session.document)) {
      return;
    }
    const document = session.document;
    for (const [id, widget] of shown) {
      const question = Object.hasOwn(document.cells, id)
        ? questionOf(document.cells[id]?.execution ?? {})
        : null;
      if (question?.id !== widget.question.id || widget.isDisposed) {
        widget.dispose();
        shown.delete(id);
      }
    }
    for (const cell of panel.content.widgets) {
      const id = cell.model.sharedModel.getId();
      const question = shown.has(id) ? null : questionIn(document, id);
      if (question !== null) {
        const widget = new QuestionWidget(question, session, trans);
        shown.set(id, widget);
        void place(panel, cell, widget, isOurs(document, id, session));
      }
    }
  });
  const stop = session.subscribe(event => {
    if (event.type === 'reset' || (event.type === 'change' && event.origin === 'remote')) {
      refresh();
    }
  });
  refresh();
  return stop;
}

function questionIn(document: NotebookDocument, id: string): Question | null {
  return Object.hasOwn(document.cells, id) ? questionOf(document.cells[id]?.execution ?? {}) : null;
}

/** Whether this client asked for the run that asks. */
function isOurs(document: NotebookDocument, id: string, session: Session): boolean {
  const batch = document.cells[id]?.execution['batch'];
  return typeof batch === 'string' && batch.split(':')[1] === session.client;
}

async function place(
  panel: NotebookPanel,
  cell: Cell,
  widget: QuestionWidget,
  ours: boolean
): Promise<void> {
  await cell.ready;
  if (cell.isDisposed || widget.isDisposed) {
    return;
  }
  (cell.layout as PanelLayout).addWidget(widget);
  if (ours && panel.node.contains(document.activeElement)) {
    widget.focus();
  }
}
