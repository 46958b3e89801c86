/**
 * The words that every module of the algebra shares: types, cell fields, refusals.
 *
 * A document is plain JSON: a notebook is `{cells: {id: cell}, order: [id, …], metadata: {…}}`, and
 * in the log also `kernel: {…}`, which the server writes; a text file is `{source: "text"}`. A cell
 * always has every field. A change is a list of operations, applied as one.
 *
 * Any text may be a key of an object, `__proto__` too. So objects are read with {@link get} and
 * {@link has}, and written with {@link put}; a spread copies such keys as they are.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export interface Cell {
  cell_type: string;
  source: string;
  metadata: JsonObject;
  outputs: Json[];
  execution_count: number | null;
  attachments: JsonObject;
  execution: JsonObject;
}

export interface NotebookDocument {
  cells: Record<string, Cell>;
  order: string[];
  metadata: JsonObject;
  kernel?: JsonObject;
}

export interface TextDocument {
  source: string;
}

export type Document = NotebookDocument | TextDocument;

/** The edit of one output's text, in a delta of outputs. */
export interface ItemEdit {
  text: Delta;
}

/** Retain (> 0) or delete (< 0) so many elements, insert a text or outputs, or edit one output. */
export type Part = number | string | Json[] | ItemEdit;
export type Delta = Part[];

export type EditOperation = { op: 'edit'; path: string; delta: Delta };
export type ReplaceOperation = { op: 'replace'; path: string; value: Json };
/** With `index` it removes a cell, without it a key. */
export type RemoveOperation = { op: 'remove'; path: string; index?: number };
export type AddOperation = { op: 'add'; path: string; index: number; value: Cell };
export type MoveOperation = { op: 'move'; path: string; index: number; to: number };
export type RunOperation = { op: 'run'; path: string };
export type Operation =
  EditOperation | ReplaceOperation | RemoveOperation | AddOperation | MoveOperation | RunOperation;
export type Change = Operation[];

export const CELL_ID = /^[a-zA-Z0-9_-]{1,64}$/;
export const CELL_TYPES: readonly string[] = ['code', 'markdown', 'raw'];
export const CELL_FIELDS = [
  'cell_type',
  'source',
  'metadata',
  'outputs',
  'execution_count',
  'attachments',
  'execution'
] as const;
/** What every JSON reader keeps exactly. */
export const MAX_INTEGER = 2 ** 53;
/** Code points. */
export const MAX_PATH = 4096;
/** Nesting of a value. */
export const MAX_DEPTH = 100;

/**
 * An operation that is not carried out. `code` is one word for programs, `message` one sentence for
 * people, `pointer` the JSON Pointer of the wrong field, relative to the value that was checked.
 */
export class Refused extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly pointer: string = ''
  ) {
    super(message);
    this.name = 'Refused';
  }

  /** The same refusal, its pointer seen from an enclosing value. */
  within(prefix: string): Refused {
    return new Refused(this.code, this.message, prefix + this.pointer);
  }
}

/** Call a function; a refusal's pointer is seen from an enclosing value then. */
export function within<T>(prefix: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw error instanceof Refused ? error.within(prefix) : error;
  }
}

/** Whether the document is a notebook (else it is a text file). */
export function isNotebook(document: Document): document is NotebookDocument {
  return 'cells' in document;
}

/** A complete cell: every field present, nothing run. */
export function newCell(cellType = 'code', source = '', metadata: JsonObject = {}): Cell {
  return {
    cell_type: cellType,
    source,
    metadata,
    outputs: [],
    execution_count: null,
    attachments: {},
    execution: {}
  };
}

/** Whether this is an object of JSON. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether the object itself has the key. */
export function has(object: object, key: string): boolean {
  return Object.hasOwn(object, key);
}

/** The object's own value; undefined if it has none of that key. */
export function get<T>(object: { readonly [key: string]: T }, key: string): T | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Give the object a value of its own. */
export function put<T>(object: { [key: string]: T }, key: string, value: T): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, {
      value,
      writable: true,
      enumerable: true,
      configurable: true
    });
  } else {
    object[key] = value;
  }
}
