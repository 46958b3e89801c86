/** The messages of the wire, as far as the client reads and writes them. See docs/protocol.md. */

import type { Change, Document, Json } from '../transforms/index.js';

/** `'notebook'` or `'text'`. */
export type Kind = 'notebook' | 'text';

/** A state's name: revision, and the hash of it and all before it. */
export interface Head {
  readonly rev: number;
  readonly hash: string;
}

/** An entry as it comes: in full, or reduced to the acknowledgement of what is in flight. */
export interface EntryMessage {
  rev: number;
  n: number;
  hash: string;
  client?: string;
  user?: string;
  time?: string;
  ops?: Change;
}

/** What is told of somebody's whereabouts; `presence` null: they are gone. */
export interface PresenceMessage {
  client: string;
  user?: Record<string, Json>;
  rev: number;
  presence: Record<string, Json> | null;
}

/** The answer to `open`. */
export interface OpenedMessage {
  type: 'opened';
  asked?: string;
  path: string;
  doc: string;
  kind: Kind;
  epoch: string;
  rev: number;
  hash: string;
  n: number;
  user?: Json;
  write?: boolean;
  presence?: PresenceMessage[];
  document?: Document;
  since: number;
  entries: EntryMessage[];
}

/** Entries of the log, in order, without gaps. `prev` is the hash of revision `from - 1`. */
export interface EntriesMessage {
  type: 'entries';
  doc: string;
  epoch: string;
  from: number;
  prev: string;
  entries: EntryMessage[];
}

/** What was refused; `of` is the type of the message that it answers. */
export interface ErrorMessage {
  type: 'error';
  code: string;
  message: string;
  pointer?: string;
  of?: string;
  doc?: string;
  path?: string;
  n?: number;
  taken?: boolean;
}

/** A comm that is open in the kernel, as it is now. */
export interface OpenComm {
  comm_id: string;
  target_name: string;
  data: Json;
  metadata?: Json;
  buffers: string[];
}

/** Any message of the server about one document. Those of other types are ignored. */
export type ServerMessage =
  | OpenedMessage
  | EntriesMessage
  | ErrorMessage
  | ({ type: 'presence'; doc: string } & PresenceMessage)
  | { type: 'repeated'; doc: string; n: number; rev: number; hash: string }
  | { type: 'resync'; doc?: string; reason?: string }
  | { type: 'renamed'; doc: string; path: string }
  | { type: 'closed'; doc: string; reason?: string }
  | { type: 'status'; doc: string; committing: boolean; reason?: string }
  | { type: 'file'; doc: string; problem: string | null }
  | { type: 'saved'; doc: string; rev: number }
  | { type: 'requested'; doc: string; id: string; rev: number }
  | { type: 'answered'; doc: string; id: string }
  | { type: 'comms'; doc: string; open: OpenComm[] }
  | {
      type: 'comm';
      doc: string;
      kind: string;
      parent: string;
      content: Record<string, Json>;
      buffers: string[];
    };

/** `open`: `known` are the states that we can go back to, the newest first. */
export interface OpenMessage {
  type: 'open';
  path: string;
  client: string;
  kind?: Kind;
  epoch?: string;
  known?: [number, string][];
}

/** `submit`: a change made for the state `(base, hash)`; `skip`: numbers before it are missing. */
export interface SubmitMessage {
  type: 'submit';
  doc: string;
  n: number;
  base: number;
  hash: string;
  ops: Change;
  skip?: true;
  presence?: Record<string, Json>;
}

/** Any message of ours. */
export type ClientMessage =
  | { type: 'ping' }
  | OpenMessage
  | SubmitMessage
  | { type: 'presence'; doc: string; presence: Record<string, Json> | null }
  | { type: 'save' | 'close'; doc: string }
  | { type: 'comms'; doc: string; on: boolean }
  | ({ type: 'kernel' | 'input' | 'comm'; doc: string } & Record<string, unknown>);
