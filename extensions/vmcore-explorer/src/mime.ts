// A snapshot of a struct, as a tree of what was opened. It may come from an untrusted notebook: text, never markup.

import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';

import { make } from './dom';

const MIME = 'application/vnd.kernlab.struct+json';
const DEEPEST = 20;
const MOST_ROWS = 2000;

interface IRow {
  id?: unknown;
  name?: unknown;
  type?: unknown;
  value?: unknown;
  summary?: unknown;
  why?: unknown;
}

interface IPage {
  rows?: IRow[];
  note?: unknown;
  problem?: unknown;
  next?: unknown;
  total?: unknown;
}

interface ISnapshot {
  view?: { title?: unknown; address?: unknown; page?: IPage };
  captured?: Record<string, IPage>;
}

const text = (value: unknown): string =>
  typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '';

class Tree extends Widget implements IRenderMime.IRenderer {
  constructor() {
    super({ node: make('div') });
    // MathJax leaves elements of these classes alone.
    this.addClass('kernlab-Tree');
    this.addClass('tex2jax_ignore');
    this.addClass('mathjax_ignore');
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const snapshot = (model.data[MIME] ?? {}) as unknown as ISnapshot;
    this._left = MOST_ROWS;
    const view = snapshot.view ?? {};
    const head = make('summary', '', make('b', '', text(view.title)), ' @ ', make('code', '', text(view.address)));
    const tree = make('details', '', head, ...this._rows(view.page ?? {}, snapshot.captured ?? {}, 0));
    tree.open = true;
    this.node.replaceChildren(tree);
  }

  private _rows(page: IPage, captured: Record<string, IPage>, depth: number): HTMLElement[] {
    const made: HTMLElement[] = [];
    if (page.note) {
      made.push(make('div', 'kernlab-soft', text(page.note)));
    }
    for (const row of Array.isArray(page.rows) ? page.rows : []) {
      if (this._left-- <= 0) {
        made.push(make('div', 'kernlab-soft', '…'));
        break;
      }
      const why = text(row.why);
      const line = [
        make('b', '', text(row.name)),
        ' ',
        make('span', 'kernlab-soft', text(row.type)),
        ' ',
        make('span', why ? 'kernlab-bad' : '', why || [text(row.value), text(row.summary)].filter(Boolean).join('  '))
      ];
      const inner = depth < DEEPEST ? captured[text(row.id)] : undefined;
      if (inner && typeof inner === 'object') {
        const opened = make('details', '', make('summary', '', ...line), ...this._rows(inner, captured, depth + 1));
        opened.open = true;
        made.push(opened);
      } else {
        made.push(make('div', 'kernlab-leaf', ...line));
      }
    }
    if (page.problem) {
      made.push(make('div', 'kernlab-bad', text(page.problem)));
    }
    if (page.next !== null && page.next !== undefined) {
      made.push(make('div', 'kernlab-soft', page.total ? `… of ${text(page.total)}` : '…'));
    }
    return made;
  }

  private _left = MOST_ROWS;
}

const extension: IRenderMime.IExtension = {
  id: '@kernlab/vmcore-explorer:struct',
  // Before HTML, which is drawn at 50 in a trusted notebook.
  rank: 0,
  rendererFactory: { safe: true, mimeTypes: [MIME], createRenderer: () => new Tree() },
  dataType: 'json'
};

export default extension;
