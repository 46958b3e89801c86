/** Other extensions that make notebooks live. */

import {
  EditorExtensionRegistry,
  ybinding,
  type IEditorExtensionRegistry
} from '@jupyterlab/codemirror';
import { PageConfig } from '@jupyterlab/coreutils';
import type { IYText } from '@jupyter/ydoc';

const OTHERS = [
  '@jupyter/docprovider-extension',
  '@jupyter/collaboration-extension',
  '@jupyter-ai-contrib/server-documents'
];

/** JupyterLab's plugin that makes editors follow their shared model. */
const BINDING = '@jupyterlab/codemirror-extension:binding';

/** Say which of them are installed and off because of us. */
export function tellOfOthers(): void {
  const installed = JSON.parse(PageConfig.getOption('federated_extensions') || '[]') as {
    name: string;
  }[];
  const off = installed.map(({ name }) => name).filter(name => OTHERS.includes(name));
  if (off.length > 0) {
    console.info(`ot-jupyter makes documents live here, so these are off: ${off.join(', ')}`);
  }
}

/**
 * Make editors follow their shared model, where another extension turned JupyterLab's own way off
 * to bring one of its own, and is off itself.
 */
export function bindEditors(extensions: IEditorExtensionRegistry): void {
  if (!PageConfig.Extension.isDisabled(BINDING)) {
    return;
  }
  extensions.addExtension({
    name: 'shared-model-binding',
    factory: ({ model }) => {
      const { ysource, undoManager } = model.sharedModel as unknown as IYText;
      return EditorExtensionRegistry.createImmutableExtension(
        ybinding(undoManager === null ? { ytext: ysource } : { ytext: ysource, undoManager })
      );
    }
  });
}
