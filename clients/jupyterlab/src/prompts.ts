/** How it stands with the run of a cell: on its prompt, and in the prompt's tooltip. */

import type { Cell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { isNotebook, type Json, type NotebookDocument, type Session } from 'ot-jupyter-core';

import type { LiveDocument } from './documents.js';
import { oncePerFrame } from './frames.js';

type Execution = Record<string, Json>;

/** The cells that wait for the kernel, in the order they were asked for. */
export function queueOf(document: NotebookDocument): string[] {
  return Object.entries(document.cells)
    .filter(([, cell]) => cell.execution['state'] === 'queued')
    .sort(([, a], [, b]) => text(a.execution, 'asked').localeCompare(text(b.execution, 'asked')))
    .map(([id]) => id);
}

/** What is said of a cell's run. `place` is its place in the queue, from 1, if it waits. */
export function describeRun(execution: Execution, place: number, trans: TranslationBundle): string {
  const who = text(execution, 'user');
  switch (execution['state']) {
    case 'queued':
      return trans.__(
        'Asked for by %1 %2. Number %3 in the queue.',
        who,
        ago(execution, 'asked'),
        place
      );
    case 'running':
      return trans.__('Asked for by %1. Running since %2.', who, clock(execution, 'started'));
    case 'ok':
      return trans.__('Run by %1 %2, in %3.', who, ago(execution, 'ended'), took(execution, trans));
    case 'error':
      return trans.__(
        'Run by %1 %2, and failed after %3.',
        who,
        ago(execution, 'ended'),
        took(execution, trans)
      );
    case 'aborted':
      return trans.__(
        'Asked for by %1, and not run to its end: %2.',
        who,
        text(execution, 'reason')
      );
    case 'lost':
      return trans.__(
        'Asked for by %1; how it ended is not known: %2.',
        who,
        text(execution, 'reason')
      );
    default:
      return '';
  }
}

function text(execution: Execution, key: string): string {
  const value = execution[key];
  return typeof value === 'string' ? value : '';
}

function clock(execution: Execution, key: string): string {
  const time = new Date(text(execution, key));
  return Number.isNaN(time.getTime()) ? '' : time.toLocaleTimeString();
}

/** At a time of today, or on a day. */
function ago(execution: Execution, key: string): string {
  const time = new Date(text(execution, key));
  if (Number.isNaN(time.getTime())) {
    return '';
  }
  const today = time.toDateString() === new Date().toDateString();
  return today ? time.toLocaleTimeString() : time.toLocaleString();
}

function took(execution: Execution, trans: TranslationBundle): string {
  const [from, to] = [Date.parse(text(execution, 'started')), Date.parse(text(execution, 'ended'))];
  const seconds = Math.max(0, to - from) / 1000;
  return Number.isNaN(seconds)
    ? '?'
    : trans.__('%1 s', seconds < 10 ? seconds.toFixed(2) : Math.round(seconds));
}

/** Keeps the prompts of a notebook up to date. Returns how to stop it. */
export function followPrompts(
  panel: NotebookPanel,
  { session }: LiveDocument,
  trans: TranslationBundle
): () => void {
  const refresh = oncePerFrame(() => {
    if (!panel.isDisposed && isNotebook(session.document)) {
      showRuns(panel, session, trans);
    }
  });
  const stop = session.subscribe(event => {
    const concerns =
      event.type === 'reset' ||
      (event.type === 'change' && event.ops.some(one => one.op === 'add' || isAboutRun(one.path)));
    if (concerns) {
      refresh();
    }
  });
  panel.content.modelContentChanged.connect(refresh);
  panel.content.renderingLayoutChanged.connect(refresh);
  refresh();
  return stop;
}

function isAboutRun(path: string): boolean {
  return /^\/cells\/[^/]*\/execution/.test(path);
}

function showRuns(panel: NotebookPanel, session: Session, trans: TranslationBundle): void {
  const document = session.document as NotebookDocument;
  const queue = queueOf(document);
  for (const widget of panel.content.widgets) {
    const id = widget.model.sharedModel.getId();
    const cell = Object.hasOwn(document.cells, id) ? document.cells[id] : undefined;
    if (cell !== undefined && widget.model.type === 'code') {
      showRun(widget, cell.execution, queue.indexOf(id) + 1, trans);
    }
  }
}

function showRun(cell: Cell, execution: Execution, place: number, trans: TranslationBundle): void {
  const state = text(execution, 'state');
  if (cell.node.dataset['otRun'] !== state) {
    cell.node.dataset['otRun'] = state;
  }
  const prompt = cell.promptNode;
  if (prompt === null || prompt === undefined) {
    void cell.ready.then(() => cell.promptNode && showRun(cell, execution, place, trans));
    return;
  }
  prompt.title = describeRun(execution, place, trans);
  if (place > 0) {
    prompt.dataset['otQueue'] = String(place);
  } else {
    delete prompt.dataset['otQueue'];
  }
}
