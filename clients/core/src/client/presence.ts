/**
 * Who else is here and where, in the document as it is seen. Decisions only: no socket, no clock.
 *
 * A presence is told for a revision. It is brought to what we see now by the entries since then and
 * what we have pending, and from then on by each change; one of a revision that we have not reached
 * yet waits until we are there.
 */

import {
  type Change,
  type Document,
  type Json,
  isNotebook,
  pointLength,
  pointer,
  position
} from '../transforms/index.js';
import type { PresenceMessage } from './messages.js';
import type { ClientDocument } from './state.js';

/** Milliseconds without a word after which somebody is taken to be gone. */
export const PRESENCE_MS = 90_000;

/** Where somebody is; offsets are code points of the document as it is now. */
export interface Place {
  /** The id of the cell they are in; null: none, or a text file. */
  readonly cell: string | null;
  /** The ends of their selection; `head` is the caret. Null: none. */
  readonly anchor: number | null;
  readonly head: number | null;
  /** Whatever else their client tells. */
  readonly more: Readonly<Record<string, Json>>;
}

/** Somebody who has the document open. */
export interface Presence extends Place {
  readonly client: string;
  /** jupyter_server's identity: `username`, `name`, `display_name`, `initials`, `color`, … */
  readonly user: Readonly<Record<string, Json>>;
}

/** What to call somebody. */
export function nameOf({ user, client }: Pick<Presence, 'user' | 'client'>): string {
  const name = [user.display_name, user.name, user.username].find(Boolean);
  return typeof name === 'string' ? name : client;
}

/** The same place after a change of the document. */
export function placeAfter<P extends Place>(place: P, change: Change): P {
  if (place.cell !== null && loses(change, place.cell)) {
    return { ...place, cell: null, anchor: null, head: null };
  }
  const path = place.cell === null ? '/source' : pointer('cells', place.cell, 'source');
  const moved = (offset: number | null) =>
    offset === null ? null : position(path, offset, change);
  return { ...place, anchor: moved(place.anchor), head: moved(place.head) };
}

/** What of a place is sent. */
export function placeMessage({ cell, anchor, head, more }: Place): Record<string, Json> {
  const carets = Object.entries({ cell, anchor, head }).filter(([, value]) => value !== null);
  return { ...more, ...Object.fromEntries(carets) };
}

/** The same place with carets that are in the document. */
function placeWithin<P extends Place>(place: P, document: Document): P {
  const source = sourceAt(place.cell, document);
  if (source === null) {
    return { ...place, cell: null, anchor: null, head: null };
  }
  const length = pointLength(source);
  const within = (offset: number | null) => (offset === null ? null : Math.min(offset, length));
  return { ...place, anchor: within(place.anchor), head: within(place.head) };
}

function sourceAt(cell: string | null, document: Document): string | null {
  if (!isNotebook(document)) {
    return document.source;
  }
  const known = cell !== null && Object.hasOwn(document.cells, cell);
  return known ? (document.cells[cell]?.source ?? null) : null;
}

/** The presence of everybody else, by client. */
export class Others {
  readonly here = new Map<string, Presence>();
  private readonly seen = new Map<string, number>();
  private readonly ahead = new Map<string, PresenceMessage>();

  /** Take a word about one client. `now` is in milliseconds of any clock that only goes on. */
  hear(message: PresenceMessage, state: ClientDocument, now: number): void {
    const { client } = message;
    if (client === state.client) {
      return;
    }
    this.ahead.delete(client);
    if (message.presence === null) {
      this.here.delete(client);
      this.seen.delete(client);
      return;
    }
    this.seen.set(client, now);
    if (message.rev > state.head.rev) {
      this.ahead.set(client, message);
    } else {
      this.here.set(client, seenNow(message, state));
    }
  }

  /** Everybody who is here, told when the document is opened (again). */
  begin(messages: readonly PresenceMessage[], state: ClientDocument, now: number): void {
    this.clear();
    messages.forEach(message => this.hear(message, state, now));
  }

  /** Nobody is known to be here. */
  clear(): void {
    [this.here, this.seen, this.ahead].forEach(map => map.clear());
  }

  /** The document that we see was changed. */
  moved(change: Change): void {
    for (const [client, one] of this.here) {
      this.here.set(client, placeAfter(one, change));
    }
  }

  /** We may be at the revisions that some spoke of. Whether anybody's place is known only now. */
  reached(state: ClientDocument): boolean {
    let any = false;
    for (const [client, message] of this.ahead) {
      if (message.rev <= state.head.rev) {
        this.ahead.delete(client);
        this.here.set(client, seenNow(message, state));
        any = true;
      }
    }
    return any;
  }

  /** Forget who has not been heard of for long. Whether there was one. */
  expire(now: number): boolean {
    const gone = [...this.seen].filter(([, seen]) => now - seen > PRESENCE_MS);
    for (const [client] of gone) {
      [this.here, this.seen, this.ahead].forEach(map => map.delete(client));
    }
    return gone.length > 0;
  }
}

/** The presence of a revision of ours, in the document that we see. */
function seenNow(message: PresenceMessage, state: ClientDocument): Presence {
  const { cell, anchor, head, ...more } = message.presence ?? {};
  let presence: Presence = {
    client: message.client,
    user: message.user ?? {},
    cell: typeof cell === 'string' ? cell : null,
    anchor: offsetOf(anchor),
    head: offsetOf(head),
    more
  };
  for (const recent of state.recent) {
    if (recent.before.rev >= message.rev) {
      presence = placeAfter(presence, recent.ops);
    }
  }
  for (const one of state.pending) {
    presence = placeAfter(presence, one.ops);
  }
  return placeWithin(presence, state.document);
}

function offsetOf(value: Json | undefined): number | null {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : null;
}

/** Whether the change removes a cell (and does not add it again). */
function loses(change: Change, cell: string): boolean {
  const path = pointer('cells', cell);
  const last = change.filter(one => one.path === path && /^(add|remove)$/.test(one.op)).at(-1);
  return last?.op === 'remove';
}
