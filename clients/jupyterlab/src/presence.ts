/** Who is here: in the notebook's toolbar, and on the cells they are in. */

import type { Cell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { LiveDocument } from './documents.js';
import { oncePerFrame } from './frames.js';
import type { Person } from './people.js';

/** A round picture or the initials of somebody. */
export function badge(person: Person, tag: 'button' | 'span'): HTMLElement {
  const node = document.createElement(tag);
  node.className = 'ot-Badge';
  node.style.setProperty('--ot-person', person.colour);
  if (person.avatar !== null) {
    const picture = document.createElement('img');
    picture.src = person.avatar;
    picture.alt = '';
    node.append(picture);
  } else {
    node.textContent = person.initials;
  }
  return node;
}

/** The people who have a notebook open, in its toolbar. A click on one follows them. */
export class PresenceBar extends Widget {
  constructor(
    private readonly panel: NotebookPanel,
    private readonly live: LiveDocument,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('ot-Presence');
    this.node.setAttribute('role', 'group');
    this.node.setAttribute('aria-label', trans.__('Also here'));
    const refresh = oncePerFrame(() => this.refresh());
    this.stop = live.session.subscribe(event => {
      if (event.type !== 'comm' && event.type !== 'conflict') {
        refresh();
      }
    });
    for (const kind of ['mousedown', 'wheel', 'keydown'] as const) {
      panel.content.node.addEventListener(kind, this.letGo, { passive: true });
    }
    refresh();
  }

  /** Stop listening. */
  override dispose(): void {
    this.stop();
    super.dispose();
  }

  private refresh(): void {
    if (this.isDisposed || this.panel.isDisposed) {
      return;
    }
    const here = this.live.people.here;
    const places = new Map<string, Person[]>();
    for (const { person, presence } of here) {
      if (presence.cell !== null) {
        places.set(presence.cell, [...(places.get(presence.cell) ?? []), person]);
      }
    }
    this.showPeople(here.map(({ person, presence }) => ({ person, cell: presence.cell })));
    for (const cell of this.panel.content.widgets) {
      showInCell(cell, places.get(cell.model.sharedModel.getId()) ?? [], this.trans);
    }
    this.keepUp();
  }

  private showPeople(here: { person: Person; cell: string | null }[]): void {
    const shown = JSON.stringify([here, this.followed]);
    if (shown === this.shown) {
      return; // the focus of the keyboard stays where it is
    }
    this.shown = shown;
    const order = this.panel.content.widgets.map(cell => cell.model.sharedModel.getId());
    this.node.replaceChildren(
      ...here.map(({ person, cell }) => {
        const button = badge(person, 'button');
        const where = cell === null ? -1 : order.indexOf(cell);
        const followed = person.client === this.followed;
        const words =
          where < 0
            ? person.name
            : this.trans.__('%1 is in cell %2. Click to follow.', person.name, where + 1);
        button.title = followed
          ? this.trans.__('You follow %1. Click to stop.', person.name)
          : words;
        button.setAttribute('aria-label', button.title);
        button.setAttribute('aria-pressed', String(followed));
        button.onclick = () => {
          this.followed = followed ? null : person.client;
          this.refresh();
        };
        return button;
      })
    );
  }

  /** Bring the cell of who is followed into view. */
  private keepUp(): void {
    const presence =
      this.followed === null ? undefined : this.live.session.others.get(this.followed);
    if (presence === undefined) {
      this.followed = null;
      return;
    }
    const { content } = this.panel;
    const index = content.widgets.findIndex(
      cell => cell.model.sharedModel.getId() === presence.cell
    );
    if (index >= 0) {
      void content.scrollToItem(index, 'smart');
    }
  }

  /** Who moves on their own follows nobody. */
  private readonly letGo = (): void => {
    if (this.followed !== null) {
      this.followed = null;
      this.refresh();
    }
  };

  private readonly stop: () => void;
  private followed: string | null = null;
  private shown = '';
}

function showInCell(cell: Cell, people: Person[], trans: TranslationBundle): void {
  const old = cell.node.querySelector(':scope > .ot-CellPeople');
  const key = people.map(person => person.client).join(' ');
  if ((old?.getAttribute('data-people') ?? '') === key) {
    return;
  }
  old?.remove();
  if (people.length > 0) {
    const node = document.createElement('div');
    node.className = 'ot-CellPeople';
    node.dataset['people'] = key;
    node.setAttribute('role', 'note');
    node.setAttribute(
      'aria-label',
      trans.__('Here: %1', people.map(({ name }) => name).join(', '))
    );
    node.title = node.getAttribute('aria-label') ?? '';
    node.append(...people.map(person => badge(person, 'span')));
    cell.node.append(node);
  }
}
