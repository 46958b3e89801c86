/** The carets and selections of others in an editor, and one's own for others. */

import { StateEffect, StateField, type Extension, type Range } from '@codemirror/state';
import {
  Decoration,
  EditorView,
  ViewPlugin,
  WidgetType,
  type DecorationSet,
  type ViewUpdate
} from '@codemirror/view';
import { pointLength, toUnits } from 'ot-jupyter-core';

import type { LiveDocument } from './documents.js';
import { oncePerFrame } from './frames.js';
import type { Person } from './people.js';

/** So long after its end CodeMirror may still read what an input method wrote, in ms. */
const COMPOSED_MS = 60;

/** Somebody's selection, in UTF-16 units of the editor's text. */
interface Caret {
  readonly person: Person;
  readonly anchor: number;
  readonly head: number;
}

const show = StateEffect.define<readonly Caret[]>();

class CaretWidget extends WidgetType {
  constructor(
    private readonly person: Person,
    private readonly head: number,
    private readonly below: boolean
  ) {
    super();
  }

  /** A caret that moved is another one: its name is shown anew. */
  override eq(other: CaretWidget): boolean {
    return (
      other.person.client === this.person.client &&
      other.person.name === this.person.name &&
      other.head === this.head &&
      other.below === this.below
    );
  }

  override toDOM(): HTMLElement {
    const caret = document.createElement('span');
    caret.className = this.below ? 'ot-Caret ot-mod-below' : 'ot-Caret';
    caret.style.setProperty('--ot-person', this.person.colour);
    caret.setAttribute('aria-hidden', 'true'); // the toolbar tells screen readers who is where
    const name = document.createElement('span');
    name.className = 'ot-CaretName';
    name.textContent = this.person.name;
    caret.append('\u2060', name, '\u2060'); // no line is broken here
    return caret;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

const carets = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(shown, transaction) {
    let next = shown.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (effect.is(show)) {
        next = decorations(effect.value, transaction.state.doc);
      }
    }
    return next;
  },
  provide: field => EditorView.decorations.from(field)
});

function decorations(
  all: readonly Caret[],
  doc: { length: number; lineAt(at: number): { number: number } }
): DecorationSet {
  const ranges: Range<Decoration>[] = [];
  for (const { person, anchor, head } of all) {
    const at = Math.min(head, doc.length);
    const other = Math.min(anchor, doc.length);
    if (at !== other) {
      const attributes = { style: `--ot-person: ${person.colour}` };
      const mark = Decoration.mark({ class: 'ot-Selection', attributes });
      ranges.push(mark.range(Math.min(at, other), Math.max(at, other)));
    }
    const widget = new CaretWidget(person, at, doc.lineAt(at).number === 1);
    ranges.push(Decoration.widget({ widget, side: 1 }).range(at));
  }
  return Decoration.set(ranges, true);
}

/** What an editor of a live document needs; `cell` is its cell's id, null in a text file. */
export function caretsOf(live: LiveDocument, cell: string | null): Extension {
  const plugin = ViewPlugin.define(view => new Carets(view, live, cell), {
    eventHandlers: {
      compositionstart() {
        this.hold();
      },
      compositionend() {
        this.release();
      }
    }
  });
  return [carets, plugin];
}

/** Follows the carets of others into one editor, and tells them of ours. */
class Carets {
  constructor(
    private readonly view: EditorView,
    private readonly live: LiveDocument,
    private readonly cell: string | null
  ) {
    this.stop = live.session.subscribe(event => {
      if (event.type === 'presence' || event.type === 'change' || event.type === 'reset') {
        this.refresh();
      }
    });
    this.refresh();
  }

  update(update: ViewUpdate): void {
    if (update.focusChanged) {
      this.noteFocus(update.view.hasFocus);
    }
    const moved = update.selectionSet || update.docChanged || update.focusChanged;
    if (moved && update.view.hasFocus) {
      this.tell();
    }
  }

  /** Foreign changes wait: they would break the input method's composition. */
  hold(): void {
    clearTimeout(this.releasing);
    if (!this.held) {
      this.held = true;
      this.live.binding.hold();
    }
  }

  release(): void {
    clearTimeout(this.releasing);
    this.releasing = setTimeout(() => this.letGo(), COMPOSED_MS);
  }

  destroy(): void {
    this.destroyed = true;
    this.noteFocus(false);
    this.stop();
    clearTimeout(this.releasing);
    this.letGo();
  }

  private letGo(): void {
    if (this.held) {
      this.held = false;
      this.live.binding.release();
      this.refresh();
    }
  }

  private noteFocus(has: boolean): void {
    const { typing } = this.live;
    if (has || typing.cell === this.cell) {
      typing.cell = has ? this.cell : null;
    }
  }

  private tell(): void {
    const { doc, selection } = this.view.state;
    const { anchor, head } = selection.main;
    const point = (unit: number): number => pointLength(doc.sliceString(0, unit));
    this.live.session.setPresence({ cell: this.cell, anchor: point(anchor), head: point(head) });
  }

  private readonly refresh = oncePerFrame(() => {
    if (this.destroyed || this.held) {
      return;
    }
    const now = this.others();
    if (now.length > 0 || this.shown) {
      this.shown = now.length > 0;
      this.view.dispatch({ effects: show.of(now) });
    }
  });

  private others(): Caret[] {
    const all: Caret[] = [];
    for (const { person, presence } of this.live.people.here) {
      if (presence.cell !== this.cell || presence.head === null) {
        continue;
      }
      const text = this.view.state.doc.toString();
      const head = toUnits(text, presence.head);
      const anchor = presence.anchor === null ? head : toUnits(text, presence.anchor);
      all.push({ person, anchor, head });
    }
    return all;
  }

  private readonly stop: () => void;
  private destroyed = false;
  private held = false;
  private shown = false; // whether anybody is
  private releasing: ReturnType<typeof setTimeout> | undefined;
}
