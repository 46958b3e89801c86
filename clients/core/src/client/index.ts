/** The client: see README.md for how a front end is written with it. */

export { withoutRuns } from './changes.js';
export { type CommKind, type CommMessage } from './comms.js';
export { Connection, type ConnectionOptions, type WebSocketLike } from './connection.js';
export { DocumentError } from './errors.js';
export { Listeners } from './listeners.js';
export { claimAmongTabs, type Release } from './locks.js';
export type * from './messages.js';
export type { Conflict, EditOptions, Events, Kept, Origin, Pending, Recent } from './parts.js';
export { Others, type Place, type Presence, nameOf, placeAfter } from './presence.js';
export { type Run, type RunState, type Running, hasEnded, runsIn } from './runs.js';
export { type OwnPlace, Session, type Status } from './session.js';
export { ClientDocument } from './state.js';
export { type Store, indexedDbStore, memoryStore } from './store.js';
export type { Link, SessionEvent, SessionOptions } from './sync.js';
export { Undo } from './undo.js';
