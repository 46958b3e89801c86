/** Where a client keeps what must survive a reload of its page. */

import { type Release, claimAmongTabs } from './locks.js';

/** Texts by key, and names that only one tab at a time may hold. */
export interface Store {
  /** The text of a key, or null. */
  get(key: string): Promise<string | null>;
  /** All keys that begin so. */
  keys(prefix: string): Promise<string[]>;
  /** Write these texts (null: remove the key), all of them or none; kept when it is resolved. */
  set(changes: Readonly<Record<string, string | null>>): Promise<void>;
  /**
   * Hold a name until it is released or the tab is gone. Null: somebody else holds it. Whoever
   * grants a name twice lets two tabs speak as one client, and text gets lost.
   */
  claim(name: string): Promise<Release | null>;
}

/** A store that lasts as long as the page: for tests, and for several connections of one page. */
export function memoryStore(): Store {
  const texts = new Map<string, string>();
  const held = new Set<string>();
  return {
    get: async key => texts.get(key) ?? null,
    keys: async prefix => [...texts.keys()].filter(key => key.startsWith(prefix)),
    set: async changes => {
      for (const [key, text] of Object.entries(changes)) {
        if (text === null) {
          texts.delete(key);
        } else {
          texts.set(key, text);
        }
      }
    },
    claim: async name => {
      if (held.has(name)) {
        return null;
      }
      held.add(name);
      return () => void held.delete(name);
    }
  };
}

const TEXTS = 'texts';

/**
 * A store in the browser's IndexedDB, shared by all tabs of one origin. `name` is the database's:
 * take another one for each server and user of the origin. The database is opened at first use; a
 * browser that refuses it (private windows, a full disk) makes every call fail.
 */
export function indexedDbStore(name: string): Store {
  let opening: Promise<IDBDatabase> | null = null;
  const database = () => (opening ??= openDatabase(name, () => (opening = null)));

  async function within<T>(mode: IDBTransactionMode, work: (texts: IDBObjectStore) => () => T) {
    const transaction = (await database()).transaction(TEXTS, mode);
    const result = work(transaction.objectStore(TEXTS));
    await completed(transaction);
    return result();
  }

  return {
    get: key =>
      within('readonly', texts => {
        const request = texts.get(key);
        return () => (request.result as string | undefined) ?? null;
      }),
    keys: prefix =>
      within('readonly', texts => {
        const request = texts.getAllKeys(IDBKeyRange.bound(prefix, prefix + '\uffff'));
        return () => request.result.map(String);
      }),
    set: changes =>
      within('readwrite', texts => {
        for (const [key, text] of Object.entries(changes)) {
          if (text === null) {
            texts.delete(key);
          } else {
            texts.put(text, key);
          }
        }
        return () => undefined;
      }),
    claim: key => claimAmongTabs(`${name}:${key}`)
  };
}

function openDatabase(name: string, lost: () => void): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TEXTS);
    request.onerror = () => {
      lost();
      reject(request.error);
    };
    request.onsuccess = () => {
      const database = request.result;
      database.onclose = lost; // the browser took it away, with "clear site data" say
      database.onversionchange = () => {
        database.close();
        lost();
      };
      resolve(database);
    };
  });
}

function completed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}
