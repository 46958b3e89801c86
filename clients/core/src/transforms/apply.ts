/** A document and a change make the next document. */

import { applyDelta, type Sequence } from './delta.js';
import { type Segments, segment, segments } from './pointer.js';
import {
  type AddOperation,
  type Cell,
  type Change,
  type Document,
  type Json,
  type JsonObject,
  type MoveOperation,
  type NotebookDocument,
  type Operation,
  type RemoveOperation,
  Refused,
  get,
  has,
  isNotebook,
  isObject,
  put,
  within
} from './values.js';

export type CellOperation = AddOperation | MoveOperation | (RemoveOperation & { index: number });
export type Write = Exclude<Operation, AddOperation | MoveOperation | { op: 'run' }>;

/** Whether an operation adds, removes or moves a cell. */
export function isCellOperation(operation: Operation): operation is CellOperation {
  return 'index' in operation && operation.index !== undefined;
}

/**
 * The document after the change. The arguments stay as they are; what did not change is shared
 * between the two: the cost is that of what is on the way to the change, not of the document.
 *
 * The operations must be well-formed (`checkChange`). Throws {@link Refused}, with the pointer into
 * the change, where one does not fit the document: a cell or key that is not there, an id that is, an
 * index that holds another cell, an offset beyond the end.
 */
export function apply(document: Document, change: Change): Document {
  const draft = new Draft(document);
  change.forEach((operation, index) => within(`/${index}`, () => draft.apply(operation)));
  return draft.document;
}

/** Copy on write: each container on the way to a change is copied once per change. */
class Draft {
  private readonly fields = new Set<string>(); // that are ours; "" is the document itself
  private readonly cells = new Set<string>(); // that are ours

  constructor(public document: Document) {}

  apply(operation: Operation): void {
    const where = segments(operation.path);
    if (operation.op === 'run') {
      this.cell(segment(where, 1));
    } else if (isCellOperation(operation)) {
      this.applyToOrder(operation, segment(where, 1));
    } else if (where[0] === 'cells') {
      const cell = this.ownCell(segment(where, 1)) as unknown as JsonObject;
      write(cell, where.slice(2), operation as Write);
    } else {
      const known = has(this.document, segment(where, 0));
      if (!known && !(where.length === 1 && where[0] === 'kernel')) {
        throw new Refused('not_found', 'the document has no such field', '/path');
      }
      write(this.ownDocument() as unknown as JsonObject, where, operation as Write);
    }
  }

  private get notebook(): NotebookDocument {
    if (!isNotebook(this.document)) {
      throw new Refused('not_found', 'the document has no cells', '/path');
    }
    return this.document;
  }

  private cell(id: string): Cell {
    const found = get(this.notebook.cells, id);
    if (found === undefined) {
      throw new Refused('not_found', `there is no cell '${id}'`, '/path');
    }
    return found;
  }

  private ownDocument(): Document {
    if (!this.fields.has('')) {
      this.document = { ...this.document };
      this.fields.add('');
    }
    return this.document;
  }

  private ownOrder(): string[] {
    const document = this.ownDocument() as NotebookDocument;
    if (!this.fields.has('order')) {
      document.order = [...document.order];
      this.fields.add('order');
    }
    return document.order;
  }

  private ownCells(): Record<string, Cell> {
    const document = this.ownDocument() as NotebookDocument;
    if (!this.fields.has('cells')) {
      document.cells = { ...document.cells };
      this.fields.add('cells');
    }
    return document.cells;
  }

  private ownCell(id: string): Cell {
    const cell = this.cell(id);
    if (this.cells.has(id)) {
      return cell;
    }
    const own = { ...cell };
    put(this.ownCells(), id, own);
    this.cells.add(id);
    return own;
  }

  private applyToOrder(operation: CellOperation, id: string): void {
    const { cells, order: present } = this.notebook;
    const { index } = operation;
    if (operation.op === 'add') {
      if (has(cells, id)) {
        throw new Refused('exists', `there is a cell '${id}' already`, '/path');
      }
      if (index > present.length) {
        throw new Refused('out_of_range', `there are ${present.length} cells`, '/index');
      }
      this.ownOrder().splice(index, 0, id);
      put(this.ownCells(), id, operation.value);
      return;
    }
    this.cell(id);
    if (present[index] !== id) {
      throw new Refused('wrong_index', `cell '${id}' is not at ${index}`, '/index');
    }
    if (operation.op === 'remove') {
      this.ownOrder().splice(index, 1);
      delete this.ownCells()[id];
      this.cells.delete(id);
      return;
    }
    if (operation.to >= present.length) {
      throw new Refused('out_of_range', `there are ${present.length} cells`, '/to');
    }
    const order = this.ownOrder();
    order.splice(index, 1);
    order.splice(operation.to, 0, id);
  }
}

/** Carry out a write in a container that is already ours. */
function write(container: JsonObject, where: Segments, operation: Write): void {
  let inner = container;
  for (const key of where.slice(0, -1)) {
    const next = get(inner, key);
    if (!isObject(next)) {
      throw new Refused('not_found', `'${key}' on the way is no object`, '/path');
    }
    const copy: JsonObject = { ...next };
    put<Json>(inner, key, copy);
    inner = copy;
  }
  writeKey(inner, segment(where, where.length - 1), operation);
}

/** Carry out a write of one key, in an object that is already ours. */
export function writeKey(object: JsonObject, key: string, operation: Write): void {
  if (operation.op === 'replace') {
    put(object, key, operation.value);
    return;
  }
  const old = get(object, key);
  if (old === undefined) {
    throw new Refused('not_found', `there is no '${key}'`, '/path');
  }
  if (operation.op === 'remove') {
    delete object[key];
  } else {
    const { delta } = operation;
    put<Json>(
      object,
      key,
      within('/delta', () => applyDelta(old as Sequence, delta))
    );
  }
}
