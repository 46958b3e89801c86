/** How people are shown: by name, initials or picture, and colour. */

import { nameOf, type Json, type Presence, type Session } from 'ot-jupyter-core';

/** Somebody, as shown. `colour` is a CSS colour that white text can be read on. */
export interface Person {
  readonly client: string;
  readonly name: string;
  readonly initials: string;
  readonly colour: string;
  readonly avatar: string | null;
}

const COLOURS = 8;

function field(user: Presence['user'], key: string): string | null {
  const value: Json | undefined = user[key];
  return typeof value === 'string' && value !== '' ? value : null;
}

function initialsOf(name: string): string {
  const words = name.split(/\s+/).filter(word => word !== '');
  const letters = [words[0], words.length > 1 ? words[words.length - 1] : undefined];
  return letters
    .map(word => (word === undefined ? '' : [...word][0]))
    .join('')
    .toUpperCase();
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
    const all = [...this.session.others.values()].map(presence => ({
      person: this.person(presence),
      presence
    }));
    for (const client of this.colours.keys()) {
      if (!this.session.others.has(client)) {
        this.colours.delete(client);
      }
    }
    return all.sort((a, b) => a.person.name.localeCompare(b.person.name));
  }

  private person({ client, user }: Presence): Person {
    const name = nameOf({ client, user });
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
