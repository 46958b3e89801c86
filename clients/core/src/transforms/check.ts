/**
 * What an operation must look like, told from the operation alone.
 *
 * What depends on the document (does the cell exist, is the index right) is told by `apply`. Nothing
 * is repaired: a wrong operation is refused with the pointer of the field that is wrong.
 */

import { referenceFits } from './blobs.js';
import { checkDelta } from './delta.js';
import { type Segments, pointer, segment, segments } from './pointer.js';
import { isWellFormed, pointLength } from './units.js';
import {
  CELL_FIELDS,
  CELL_ID,
  CELL_TYPES,
  type Cell,
  type Json,
  type JsonObject,
  MAX_DEPTH,
  MAX_INTEGER,
  MAX_PATH,
  Refused,
  get,
  has,
  isObject,
  within
} from './values.js';

const MOST_REFERENCES = 64 * 1024; // bytes of JSON, of one output
const EXPONENTIAL = 1e21; // from there on JSON.stringify writes a number as a float

const FIELDS: ReadonlyMap<string, readonly string[]> = new Map([
  ['edit', ['op', 'path', 'delta']],
  ['replace', ['op', 'path', 'value']],
  ['add', ['op', 'path', 'index', 'value']],
  ['remove', ['op', 'path']],
  ['move', ['op', 'path', 'index', 'to']],
  ['run', ['op', 'path']]
]);

/** For which document a change is, and from whom. */
export interface Origin {
  /** For a notebook (else for a text file). */
  notebook: boolean;
  /** Refuse what only the server writes: new outputs, a cell's `execution`, `kernel`. */
  fromClient: boolean;
}

/**
 * Throw {@link Refused} unless `value` is JSON that every reader keeps exactly. Refused: NaN and
 * infinities, integers beyond 2**53, strings that are not well-formed (halves of surrogate pairs),
 * nesting deeper than 100, counted from `level` objects around the value.
 */
export function checkValue(value: unknown, level = 0): void {
  const stack: [unknown, (string | number)[]][] = [[value, []]];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const [item, where] = top;
    if (typeof item === 'string') {
      checkText(item, where);
    } else if (Array.isArray(item) || isObject(item)) {
      if (where.length + level >= MAX_DEPTH) {
        throw new Refused('too_deep', `values nest at most ${MAX_DEPTH} deep`);
      }
      if (Array.isArray(item)) {
        item.forEach((inner, index) => stack.push([inner, [...where, index]]));
      } else {
        for (const [key, inner] of Object.entries(item)) {
          checkText(key, where);
          stack.push([inner, [...where, key]]);
        }
      }
    } else if (typeof item === 'number') {
      checkNumber(item, where);
    } else if (item !== null && typeof item !== 'boolean') {
      throw new Refused('wrong_type', `${typeof item} is not JSON`, pointer(...where));
    }
  }
}

function checkNumber(item: number, where: (string | number)[]): void {
  if (!Number.isFinite(item)) {
    throw new Refused('bad_number', 'NaN and infinities are not JSON', pointer(...where));
  }
  const size = Math.abs(item);
  if (Number.isInteger(item) && size > MAX_INTEGER && size < EXPONENTIAL) {
    throw new Refused('bad_number', 'an integer is within ±2**53', pointer(...where));
  }
}

function checkText(text: string, where: (string | number)[]): void {
  if (!isWellFormed(text)) {
    const why = 'a string is not well-formed: half of a surrogate pair';
    throw new Refused('bad_text', why, pointer(...where));
  }
}

/** Throw {@link Refused} unless this is a complete cell: every field, each of its type. */
export function checkCell(cell: unknown): void {
  if (!isObject(cell)) {
    throw new Refused('wrong_type', 'a cell is an object');
  }
  for (const field of CELL_FIELDS) {
    if (!has(cell, field)) {
      throw new Refused('missing_field', `a cell has '${field}'`, pointer(field));
    }
  }
  for (const [field, value] of Object.entries(cell)) {
    if (!(CELL_FIELDS as readonly string[]).includes(field)) {
      checkText(field, []);
      throw new Refused('unknown_field', `a cell has no '${field}'`, pointer(field));
    }
    checkField(field, value);
  }
  checkValue(cell);
  (cell['outputs'] as JsonObject[]).forEach((output, index) => {
    if (has(output, 'blobs')) {
      within(pointer('outputs', index, 'blobs'), () => checkReferences(output));
    }
  });
}

/** The references of an output to its large parts. */
function checkReferences(output: JsonObject): void {
  const blobs = output['blobs'];
  if (!isObject(blobs)) {
    throw new Refused('wrong_type', "'blobs' is an object");
  }
  for (const [field, reference] of Object.entries(blobs)) {
    if (!referenceFits(output, field, reference)) {
      const why = 'a reference is {hash, size, type}, of a field and type that the output has';
      throw new Refused('wrong_type', why, pointer(field));
    }
  }
  if (new TextEncoder().encode(JSON.stringify(blobs)).length > MOST_REFERENCES) {
    throw new Refused('too_large', `references have at most ${MOST_REFERENCES} bytes`);
  }
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0;
}

/** The type of a cell's fixed field, not what is inside. */
function checkField(field: string, value: unknown): void {
  const why = wrongField(field, value);
  if (why !== '') {
    throw new Refused('wrong_type', why, pointer(field));
  }
  if (field === 'metadata' && has(value as JsonObject, 'trusted')) {
    throw untrusted(pointer(field, 'trusted'));
  }
}

function untrusted(where: string): Refused {
  return new Refused('not_writable', "trust is each reader's own, never in the document", where);
}

/** What is wrong with the type of a field; "" if nothing is. */
function wrongField(field: string, value: unknown): string {
  switch (field) {
    case 'cell_type':
      return CELL_TYPES.includes(value as string)
        ? ''
        : `a cell type is one of ${CELL_TYPES.join(', ')}`;
    case 'source':
      return typeof value === 'string' ? '' : 'a source is one string';
    case 'outputs':
      return Array.isArray(value) && value.every(isObject) ? '' : 'outputs are a list of objects';
    case 'execution_count':
      return value === null || isCount(value)
        ? ''
        : 'an execution count is a number from 0, or null';
    default:
      return isObject(value) ? '' : `'${field}' is an object`;
  }
}

/** Throw {@link Refused} unless this is a list of well-formed operations. */
export function checkChange(change: unknown, origin: Origin): void {
  if (!Array.isArray(change)) {
    throw new Refused('wrong_type', 'a change is a list of operations');
  }
  let running = false;
  change.forEach((operation: unknown, index) => {
    within(`/${index}`, () => {
      checkOperation(operation, origin);
      const runs = (operation as JsonObject)['op'] === 'run';
      if (running && !runs) {
        const why = "'run' stands only at the end of a change";
        throw new Refused('not_canonical', why, '/op');
      }
      running ||= runs;
    });
  });
}

/** The same for one operation; pointers are relative to it. */
export function checkOperation(operation: unknown, origin: Origin): void {
  if (!isObject(operation)) {
    throw new Refused('wrong_type', 'an operation is an object');
  }
  const verb = get(operation, 'op');
  const expected = typeof verb === 'string' ? FIELDS.get(verb) : undefined;
  if (typeof verb !== 'string' || expected === undefined) {
    const why = `'op' is one of ${[...FIELDS.keys()].join(', ')}`;
    throw new Refused('unknown_operation', why, '/op');
  }
  const path = get(operation, 'path');
  if (typeof path !== 'string') {
    throw new Refused('wrong_type', "'path' is a JSON Pointer", '/path');
  }
  if (path.length > MAX_PATH && pointLength(path) > MAX_PATH) {
    throw new Refused('too_large', `a path has at most ${MAX_PATH} characters`, '/path');
  }
  checkText(path, ['path']);
  const where = within('/path', () => segments(path));
  const isCell = origin.notebook && where.length === 2 && where[0] === 'cells';
  checkFields(operation, verb === 'remove' && isCell ? [...expected, 'index'] : expected);
  if (isCell) {
    checkCellOperation(operation, verb, segment(where, 1), origin);
  } else if (verb === 'add' || verb === 'move' || verb === 'run') {
    throw new Refused('not_writable', `'${verb}' is for cells: /cells/ID`, '/path');
  } else {
    checkWrite(operation, verb, where, origin);
  }
}

function checkFields(operation: JsonObject, expected: readonly string[]): void {
  const verb = String(operation['op']);
  for (const field of Object.keys(operation)) {
    if (!expected.includes(field)) {
      checkText(field, []); // it is about to be a pointer
      throw new Refused('unknown_field', `'${verb}' has no '${field}' here`, pointer(field));
    }
  }
  const missing = expected.filter(field => !has(operation, field)).sort()[0];
  if (missing !== undefined) {
    throw new Refused('missing_field', `'${verb}' has '${missing}' here`, pointer(missing));
  }
}

function checkCellOperation(
  operation: JsonObject,
  verb: string,
  id: string,
  { fromClient }: Origin
): void {
  if (verb === 'edit' || verb === 'replace') {
    throw new Refused('not_writable', 'a cell is written field by field', '/path');
  }
  for (const field of ['index', 'to']) {
    if (has(operation, field) && !isCount(operation[field])) {
      throw new Refused('wrong_type', `'${field}' is a number from 0`, pointer(field));
    }
  }
  if (verb === 'move' && operation['index'] === operation['to']) {
    throw new Refused('no_effect', 'the cell is there already', '/to');
  }
  if (verb === 'add') {
    if (!CELL_ID.test(id)) {
      throw new Refused('bad_id', 'a cell id matches [a-zA-Z0-9_-]{1,64}', '/path');
    }
    const value = operation['value'];
    within('/value', () => checkCell(value));
    if (fromClient && !isEmpty((value as unknown as Cell).execution)) {
      const why = "'execution' is the kernel's: send {}";
      throw new Refused('forbidden', why, '/value/execution');
    }
  }
}

function isEmpty(object: JsonObject): boolean {
  return Object.keys(object).length === 0;
}

/** An edit, replace or remove of what is no cell. */
function checkWrite(operation: JsonObject, verb: string, where: Segments, origin: Origin): void {
  const [field, inner] = targetOf(where, origin.notebook);
  const level = levelOf(where);
  if (field === 'source' || field === 'outputs') {
    if (inner.length > 0) {
      throw new Refused('not_found', `'${field}' has no parts with paths`, '/path');
    }
    if (verb !== 'edit') {
      throw new Refused('not_writable', `'${field}' is written by 'edit'`, '/op');
    }
    const delta = operation['delta'];
    within('/delta', () => checkEdit(delta, field, level, origin.fromClient));
    return;
  }
  if (verb === 'edit') {
    throw new Refused('not_writable', `'edit' is for sequences; '${field}' is none`, '/op');
  }
  if ((field === 'execution' || field === 'kernel') && origin.fromClient) {
    throw new Refused('forbidden', `'${field}' is the server's`, '/path');
  }
  if ((field === 'cell_type' || field === 'execution_count') && inner.length > 0) {
    throw new Refused('not_found', `'${field}' has no parts`, '/path');
  }
  if (field === 'metadata' && inner[0] === 'trusted') {
    throw untrusted('/path');
  }
  if (verb === 'remove') {
    if (inner.length === 0 && field !== 'kernel') {
      throw new Refused('not_writable', `'${field}' is always there`, '/path');
    }
    return;
  }
  const value = operation['value'];
  if (inner.length === 0) {
    checkFieldValue(field, value);
  }
  within('/value', () => checkValue(value, level));
  if (level > MAX_DEPTH) {
    throw new Refused('too_deep', `values nest at most ${MAX_DEPTH} deep`, '/path');
  }
}

/** As `checkField`, with pointers from the operation that writes the field. */
function checkFieldValue(field: string, value: unknown): void {
  try {
    checkField(field, value);
  } catch (error) {
    if (!(error instanceof Refused)) {
      throw error;
    }
    const inside = error.pointer.slice(pointer(field).length);
    throw new Refused(error.code, error.message, '/value' + inside);
  }
}

/**
 * How deep a value there is nested, counted from the cell. Were it counted from the value, a removed
 * cell could be too deep to be added again.
 */
function levelOf(where: Segments): number {
  return where.length - 2;
}

/** The fixed field that a path is in, and the segments inside it. */
function targetOf(where: Segments, notebook: boolean): [string, Segments] {
  const [first, , third] = where;
  if (!notebook) {
    if (first === 'source') {
      return ['source', where.slice(1)];
    }
  } else if (first === 'metadata' || first === 'kernel') {
    return [first, where.slice(1)];
  } else if (first === 'cells' && (CELL_FIELDS as readonly unknown[]).includes(third)) {
    return [third as string, where.slice(3)];
  }
  if (where.length === 0 || ((first === 'cells' || first === 'order') && where.length < 3)) {
    const why = 'the root, /cells and /order change by cells';
    throw new Refused('not_writable', why, '/path');
  }
  throw new Refused('not_found', 'the document has no such field', '/path');
}

function checkEdit(delta: unknown, field: string, level: number, fromClient: boolean): void {
  checkDelta(delta, field === 'source' ? 'text' : 'list');
  (delta as unknown[]).forEach((part, index) => {
    const where = `/${index}`;
    if (typeof part === 'number') {
      if (Math.abs(part) > MAX_INTEGER) {
        throw new Refused('out_of_range', 'no sequence is that long', where);
      }
      return;
    }
    if (field === 'outputs') {
      if (fromClient) {
        throw new Refused('forbidden', "outputs are the kernel's", where);
      }
      if (Array.isArray(part) && !part.every(isObject)) {
        throw new Refused('wrong_type', 'an output is an object', where);
      }
    }
    within(where, () => checkValue(part as Json, level));
  });
}

/** The cell as a client may add it: what the kernel wrote about its runs is reset. */
export function clientCell(cell: Cell): Cell {
  return isEmpty(cell.execution) ? cell : { ...cell, execution: {} };
}
