/** Whether two JSON values are the same. */

import { get, has, isObject } from './values.js';

/** Whether two JSON values are the same for every reader. The order of an object's keys is nothing. */
export function equal(a: unknown, b: unknown): boolean {
  const stack: [unknown, unknown][] = [[a, b]];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const [one, other] = top;
    if (Object.is(one, other)) {
      continue;
    }
    if (Array.isArray(one) && Array.isArray(other)) {
      if (one.length !== other.length) {
        return false;
      }
      one.forEach((item, index) => stack.push([item, other[index]]));
    } else if (isObject(one) && isObject(other)) {
      const keys = Object.keys(one);
      if (keys.length !== Object.keys(other).length || !keys.every(key => has(other, key))) {
        return false;
      }
      keys.forEach(key => stack.push([get(one, key), get(other, key)]));
    } else {
      return false;
    }
  }
  return true;
}
