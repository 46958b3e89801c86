/** A store in a folder: a file of texts, and a file per name that is held, with who holds it. */

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export function fileStore(folder) {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'texts.json');
  const read = () => {
    try {
      return new Map(JSON.parse(readFileSync(file, 'utf8')));
    } catch (error) {
      if (error.code === 'ENOENT') {
        return new Map();
      }
      throw error;
    }
  };
  return {
    get: async key => read().get(key) ?? null,
    keys: async prefix => [...read().keys()].filter(key => key.startsWith(prefix)),
    set: async changes => {
      const texts = read();
      for (const [key, text] of Object.entries(changes)) {
        text === null ? texts.delete(key) : texts.set(key, text);
      }
      writeFileSync(`${file}.${process.pid}`, JSON.stringify([...texts]));
      renameSync(`${file}.${process.pid}`, file);
    },
    claim: async name => {
      const lock = join(folder, encodeURIComponent(name));
      const holder = heldBy(lock);
      if (holder !== null && isAlive(holder)) {
        return null;
      }
      writeFileSync(lock, String(process.pid));
      return () => rmSync(lock, { force: true });
    }
  };
}

function heldBy(lock) {
  try {
    return Number(readFileSync(lock, 'utf8'));
  } catch {
    return null;
  }
}

function isAlive(process_id) {
  try {
    return process.kill(process_id, 0);
  } catch {
    return false;
  }
}
