/** The translation between JupyterLab's shared models and sessions. */

export type { BindingOptions } from './binding.js';
export type { FetchBlob } from './blobs.js';
export { FileBinding } from './file.js';
export { NotebookBinding, type NotebookOptions } from './notebook.js';
