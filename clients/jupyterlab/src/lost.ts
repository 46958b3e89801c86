/** The connection to the server is lost: nothing to stop working for. */

import { ConnectionLost, type IConnectionLost } from '@jupyterlab/application';

/**
 * Shows JupyterLab's dialog only where nothing else tells: the status of a live document does, and
 * people go on typing in it. `told` says whether there is one.
 */
export function quietly(told: () => boolean): IConnectionLost {
  return async (...lost) => {
    if (!told()) {
      await ConnectionLost(...lost);
    }
  };
}
