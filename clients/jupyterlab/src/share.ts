/** A link for the second person. */

import { Clipboard, Notification } from '@jupyterlab/apputils';
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import type { TranslationBundle } from '@jupyterlab/translation';

import { isNotebookPath } from './provider.js';

/**
 * The address that opens a document in the program that shows it now (JupyterLab or Notebook). On a
 * server of one's own it has the token in it, which lets in whoever has the link; on a JupyterHub
 * people sign in.
 */
export function linkTo(path: string): string {
  const base = PageConfig.getBaseUrl();
  const encoded = URLExt.encodeParts(path);
  const notebook7 =
    PageConfig.getOption('retroPage') !== '' || PageConfig.getOption('notebookPage') !== '';
  const link = notebook7
    ? URLExt.join(base, isNotebookPath(path) ? 'notebooks' : 'edit', encoded)
    : URLExt.join(base, PageConfig.getOption('appUrl') || 'lab', 'tree', encoded);
  const token = PageConfig.getOption('hubUser') === '' ? PageConfig.getToken() : '';
  return token === '' ? link : `${link}?token=${encodeURIComponent(token)}`;
}

/** Copy the link to a document, and say so. */
export function share(path: string, trans: TranslationBundle): void {
  const link = linkTo(path);
  Clipboard.copyToSystem(link);
  const words = link.includes('?token=')
    ? trans.__('The link is copied. Whoever has it can do here what you can.')
    : trans.__('The link is copied.');
  Notification.success(words, { autoClose: 5000 });
}
