// "Open in notebook": a ready investigation of a dump, beside the dump.

import { PathExt } from '@jupyterlab/coreutils';
import { Contents } from '@jupyterlab/services';

import template from './investigation.json';

/** The notebook's content; `name` is the dump's file name. */
export function investigation(name: string, kernel: string): Record<string, unknown> {
  // As Markdown shows it and as %vmcore reads it: quoted where it holds what a shell would split.
  const plain = name.replace(/[\\`*_{}[\]<>()#+!|$&]/g, '\\$&');
  const quoted = /^[\w.@%+=:,/-]+$/.test(name) ? name : `'${name.replace(/'/g, `'"'"'`)}'`;
  return {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: { kernelspec: { name: kernel, display_name: kernel, language: 'python' } },
    cells: template.map((cell, i) => ({
      id: `kernlab-${i}`,
      cell_type: cell.type,
      metadata: {},
      source: cell.source.replace('{name}', () => plain).replace('{quoted}', () => quoted),
      ...(cell.type === 'code' ? { outputs: [], execution_count: null } : {})
    }))
  };
}

/** Write the notebook beside the dump under a name that is free; its path. */
export async function writeInvestigation(
  dump: string,
  contents: Contents.IManager,
  kernel: string
): Promise<string> {
  const folder = PathExt.dirname(dump);
  const listed = await contents.get(folder, { content: true });
  const taken = new Set((listed.content as Contents.IModel[]).map(model => model.name));
  const stem = PathExt.basename(dump).replace(/\.vmcore$/, '');
  let name = `${stem}.investigation.ipynb`;
  for (let i = 2; taken.has(name); i++) {
    name = `${stem}.investigation-${i}.ipynb`;
  }
  const path = PathExt.join(folder, name);
  await contents.save(path, {
    type: 'notebook',
    format: 'json',
    content: investigation(PathExt.basename(dump), kernel)
  });
  return path;
}
