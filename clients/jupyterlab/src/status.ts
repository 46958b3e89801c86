/** Says how it stands with a document, in words, in the status bar. */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import { nameOf, type Presence, type Session } from 'ot-jupyter-core';

import type { LiveDocument } from './documents.js';
import { oncePerFrame } from './frames.js';

/** So long an edit may be on its way before it is said, in ms: else the words would flicker. */
const SAVING_MS = 600;

/** What is said of a document: a few words, and all of it. */
export interface Telling {
  readonly label: string;
  readonly detail: string;
  /** `good`, `busy` or `bad`: how it looks. */
  readonly mood: 'good' | 'busy' | 'bad';
}

/** How it stands with a document, of whose edits here `unsaved` are not acknowledged. */
export function tell(session: Session, unsaved: number, trans: TranslationBundle): Telling {
  switch (session.status) {
    case 'opening':
      return {
        label: trans.__('Opening'),
        detail: trans.__('The document is on its way.'),
        mood: 'busy'
      };
    case 'saving':
      return {
        label: trans.__('Saving'),
        detail: trans._n('%1 edit is on its way.', '%1 edits are on their way.', unsaved),
        mood: 'busy'
      };
    case 'offline':
      return {
        label:
          unsaved === 0
            ? trans.__('Offline')
            : trans._n('Offline, %1 edit kept', 'Offline, %1 edits kept', unsaved),
        detail: trans.__(
          'There is no connection. You can go on: your edits are kept here, and are sent when the connection is back.'
        ),
        mood: 'bad'
      };
    case 'catching up':
      return {
        label: trans.__('Catching up'),
        detail: trans.__('What others did meanwhile is on its way.'),
        mood: 'busy'
      };
    case 'read only':
      return {
        label: trans.__('Read only'),
        detail: trans.__('You see what others do, but may not change it.'),
        mood: 'good'
      };
    case 'failed':
      return {
        label: trans.__('Not live'),
        detail: session.problem?.message ?? '',
        mood: 'bad'
      };
    default:
      return {
        label: trans.__('Live'),
        detail: trans.__('Everything is saved, and everybody sees it.'),
        mood: 'good'
      };
  }
}

/** An item for a status bar or toolbar: how it stands with the current document. */
export class StatusItem extends Widget {
  constructor(private readonly trans: TranslationBundle) {
    super({ node: document.createElement('button') });
    this.addClass('ot-Status');
    this.node.setAttribute('type', 'button');
    this.node.setAttribute('aria-live', 'polite');
    this.node.onclick = () => void this.showDetails();
    this.hide();
  }

  /** Speak of this document from now on; of none if it is null. */
  set live(live: LiveDocument | null) {
    if (live === this._live) {
      return;
    }
    this._stop();
    this._stop = () => undefined;
    this._live = live;
    this._said = '';
    this.setHidden(live === null);
    if (live !== null) {
      this._stop = live.session.subscribe(this._refresh);
      this._say();
    }
  }

  get live(): LiveDocument | null {
    return this._live;
  }

  /** Stop listening. */
  override dispose(): void {
    this._stop();
    super.dispose();
  }

  /** Everything that is known, in a dialog. */
  async showDetails(): Promise<void> {
    if (this._live !== null) {
      await showDialog({
        title: this.trans.__('Live document'),
        body: details(this._live, this.trans),
        buttons: [Dialog.okButton({ label: this.trans.__('Close') })]
      });
    }
  }

  private _say(): void {
    if (this._live === null || this.isDisposed) {
      return;
    }
    const { session } = this._live;
    clearTimeout(this._patience);
    if (session.status === 'saving' && this._said === 'good') {
      this._patience = setTimeout(() => this._show(), SAVING_MS);
      return;
    }
    this._show();
  }

  private _show(): void {
    if (this._live === null || this.isDisposed) {
      return;
    }
    const { session, unsaved } = this._live;
    const telling = tell(session, unsaved.count, this.trans);
    const problem = session.fileProblem;
    const mood = problem === null ? telling.mood : 'bad';
    const words =
      problem === null ? telling.label : this.trans.__('%1, not in the file', telling.label);
    this._said = mood;
    this.node.dataset['mood'] = mood;
    if (this.node.textContent !== words) {
      this.node.textContent = words;
    }
    const revision = this.trans.__('Revision %1', session.rev);
    this.node.title = [telling.detail, problem ?? '', revision].filter(line => line).join('\n');
  }

  private readonly _refresh = oncePerFrame(() => this._say());
  private _live: LiveDocument | null = null;
  private _said = ''; // the mood that is shown
  private _stop: () => void = () => undefined;
  private _patience: ReturnType<typeof setTimeout> | undefined;
}

function details({ session, people, unsaved }: LiveDocument, trans: TranslationBundle): Widget {
  const telling = tell(session, unsaved.count, trans);
  const names = people.here.map(({ person }) => person.name);
  const rows: [string, string][] = [
    [trans.__('State'), `${telling.label}. ${telling.detail}`],
    [trans.__('Document'), session.path],
    [trans.__('Revision'), `${session.rev} (${session.hash})`],
    [trans.__('Not yet saved'), trans._n('%1 edit', '%1 edits', unsaved.count)],
    [
      trans.__('You are'),
      nameOf({ client: session.client, user: session.user as Presence['user'] })
    ],
    [trans.__('Also here'), names.length === 0 ? trans.__('nobody') : names.join(', ')]
  ];
  if (session.fileProblem !== null) {
    rows.push([trans.__('File'), session.fileProblem]);
  }
  const list = document.createElement('dl');
  list.className = 'ot-Details';
  for (const [term, text] of rows) {
    list.append(element('dt', term), element('dd', text));
  }
  return new Widget({ node: list });
}

function element(tag: string, text: string): HTMLElement {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}
