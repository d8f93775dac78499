// What a crash dump is to JupyterLab: its file type and icon, and a model that never asks for the file's content.

import { DocumentRegistry, TextModelFactory } from '@jupyterlab/docregistry';
import { Contents } from '@jupyterlab/services';
import { LabIcon } from '@jupyterlab/ui-components';

export const FILE_TYPE = 'kernlab-vmcore';
export const FACTORY = 'Crash dump explorer';
const MODEL = 'kernlab-vmcore-model';

/** A memory chip that is cracked. */
export const dumpIcon = new LabIcon({
  name: 'kernlab:dump',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16">
  <g class="jp-icon3 jp-icon-selectable" fill="#616161">
    <path d="M4.2 3h7.6A1.2 1.2 0 0 1 13 4.2v7.6a1.2 1.2 0 0 1-1.2 1.2H4.2A1.2 1.2 0 0 1 3 11.8V4.2A1.2 1.2 0 0 1 4.2 3zm.1 1.3v7.4h7.4V4.3z" fill-rule="evenodd"/>
    <path d="M5 0h1.2v2.2H5zm4.8 0H11v2.2H9.8zM5 13.8h1.2V16H5zm4.8 0H11V16H9.8zM0 5h2.2v1.2H0zm0 4.8h2.2V11H0zM13.8 5H16v1.2h-2.2zm0 4.8H16V11h-2.2z"/>
  </g>
  <path class="jp-icon-selectable-inverse" fill="#d32f2f" d="M8.9 4.8 5.8 8.6h1.9L6.9 11.3l3.3-3.9H8.2z"/>
</svg>`
});

/** kdump's own names have no extension: vmcore, vmcore.0, dump.202511240818; their logs and notes do. */
export const fileType: DocumentRegistry.IFileType = {
  name: FILE_TYPE,
  displayName: 'Linux crash dump',
  contentType: 'file',
  fileFormat: null as unknown as Contents.FileFormat,
  mimeTypes: ['application/x-vmcore'],
  extensions: ['.vmcore', '.kdump'],
  pattern: '^(vmcore|dump\\.[0-9]{6,})(\\.(?!txt$|log$|md$|json$|html?$|ipynb$|py$|csv$)[^.]+)*$',
  icon: dumpIcon
};

/** A document's model without content: JupyterLab then asks the server for the file's name and size only. */
export class DumpModelFactory extends TextModelFactory {
  get name(): string {
    return MODEL;
  }

  get contentType(): Contents.ContentType {
    return 'file';
  }

  get fileFormat(): Contents.FileFormat {
    return null;
  }
}

export const MODEL_NAME = MODEL;
