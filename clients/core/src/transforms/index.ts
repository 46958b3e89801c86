/** The algebra: pure functions over plain JSON values. No I/O, no state. */

export { apply, isCellOperation } from './apply.js';
export { type BlobReference, attach, referencesOf } from './blobs.js';
export { checkCell, checkChange, checkValue, clientCell } from './check.js';
export { compose } from './compose.js';
export {
  applyDelta,
  canonical,
  composeDelta,
  invertDelta,
  positionInDelta,
  transformDelta
} from './delta.js';
export { adoptIds, diff, diffList } from './diff.js';
export { equal } from './equal.js';
export { invert } from './invert.js';
export { type Segments, pointer, segments } from './pointer.js';
export { position } from './position.js';
export { diffText } from './texts.js';
export { type Role, transform, transformChange, transformChanges } from './transform.js';
export { isWellFormed, pointLength, toPoints, toUnits } from './units.js';
export * from './values.js';
