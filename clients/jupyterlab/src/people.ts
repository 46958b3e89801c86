/** What people are called, and which colour they have. */

import type { Json, Presence, Session } from 'ot-jupyter-core';

/** Somebody, as shown. `colour` is a CSS colour that white text can be read on. */
export interface Person {
  readonly client: string;
  readonly name: string;
  readonly initials: string;
  readonly colour: string;
  readonly avatar: string | null;
}

const COLOURS = 8;

/** The text of the first of these fields of a user that has one. */
function field(user: Json, ...keys: string[]): string | null {
  if (user === null || typeof user !== 'object' || Array.isArray(user)) {
    return null;
  }
  for (const key of keys) {
    const value = user[key];
    if (typeof value === 'string' && value !== '') {
      return value;
    }
  }
  return null;
}

/** What to call a user; `otherwise` if nothing is known. */
export function nameOf(user: Json, otherwise: string): string {
  return field(user, 'display_name', 'name', 'username') ?? otherwise;
}

function initialsOf(name: string): string {
  const words = name.split(/\s+/).filter(word => word !== '');
  const letters = [words[0], words.length > 1 ? words[words.length - 1] : undefined];
  return letters.map(word => (word === undefined ? '' : [...word][0])).join('').toUpperCase();
}

function hash(text: string): number {
  let value = 0;
  for (let index = 0; index < text.length; index += 1) {
    value = (value * 31 + text.charCodeAt(index)) >>> 0;
  }
  return value;
}

/**
 * The people who have one document open. Each one has a colour of the user's name, or the next one
 * that is free, and keeps it.
 */
export class People {
  constructor(private readonly session: Session) {}

  /** Everybody else who is here, by name. */
  get here(): { person: Person; presence: Presence }[] {
    const all = [...this.session.others].map(([client, presence]) => ({
      person: this.person(client, presence.user),
      presence
    }));
    for (const client of this.colours.keys()) {
      if (!this.session.others.has(client)) {
        this.colours.delete(client);
      }
    }
    return all.sort((a, b) => a.person.name.localeCompare(b.person.name));
  }

  private person(client: string, user: Json): Person {
    const name = nameOf(user, client);
    return {
      client,
      name,
      initials: field(user, 'initials') ?? initialsOf(name),
      colour: `var(--ot-person-${this.colour(client, field(user, 'username') ?? client)})`,
      avatar: field(user, 'avatar_url')
    };
  }

  private colour(client: string, username: string): number {
    let colour = this.colours.get(client);
    if (colour === undefined) {
      const taken = new Set(this.colours.values());
      colour = hash(username) % COLOURS;
      for (let tries = 0; taken.has(colour) && tries < COLOURS; tries += 1) {
        colour = (colour + 1) % COLOURS;
      }
      this.colours.set(client, colour);
    }
    return colour;
  }

  private readonly colours = new Map<string, number>();
}
