/** The connection to the server is lost: nothing to stop working for. */

import type { IConnectionLost } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';

let said = '';

/**
 * Say it aside, once at a time, in place of JupyterLab's dialog: people go on typing, and the status
 * tells how it stands with their documents.
 */
export const sayConnectionLost: IConnectionLost = async (_manager, _error, translator) => {
  if (!Notification.manager.has(said)) {
    const trans = (translator ?? nullTranslator).load('ot_jupyter');
    said = Notification.warning(
      trans.__('There is no connection to the server. It is tried again, and you can go on.'),
      { autoClose: 10_000 }
    );
  }
};
