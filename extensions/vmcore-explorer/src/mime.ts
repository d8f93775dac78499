// A snapshot of a struct, as a tree of what was opened. It may come from an untrusted notebook: text, never markup.

import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';

import { make } from './dom';

export const MIME = 'application/vnd.kernlab.struct+json';
const DEEPEST = 20;
const MOST_ROWS = 2000;

interface IRow {
  id?: unknown;
  name?: unknown;
  type?: unknown;
  value?: unknown;
  summary?: unknown;
  why?: unknown;
  note?: unknown;
  offset?: unknown;
}

interface IPage {
  rows?: IRow[];
  note?: unknown;
  problem?: unknown;
  question?: unknown;
  next?: unknown;
  total?: unknown;
}

interface ISnapshot {
  view?: { title?: unknown; address?: unknown; root?: IRow; page?: IPage };
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
    const root = view.root ?? {};
    const said = text(root.summary) || text(root.value);
    const head = make(
      'summary',
      '',
      make('b', '', text(view.title)),
      ' ',
      make('code', '', text(view.address)),
      said ? ` ${said}` : ''
    );
    const failed = text(root.why) ? [make('div', 'kernlab-bad', text(root.why))] : [];
    const tree = make('details', '', head, ...failed, ...this._rows(view.page ?? {}, snapshot.captured ?? {}, 0));
    tree.open = true;
    this.node.replaceChildren(tree);
  }

  private _rows(page: IPage, captured: Record<string, IPage>, depth: number): HTMLElement[] {
    const made: HTMLElement[] = [];
    if (page.note) {
      made.push(make('div', 'kernlab-soft', text(page.note)));
    }
    const rows = Array.isArray(page.rows) ? page.rows : [];
    for (const row of rows) {
      if (!row || typeof row !== 'object') {
        continue;
      }
      if (this._left-- <= 0) {
        made.push(make('div', 'kernlab-soft', '…'));
        break;
      }
      const value = [text(row.value), text(row.summary)].filter(Boolean).join(' ');
      const why = text(row.why) || text(row.note);
      const line: (Node | string)[] = [make('b', '', text(row.name)), value ? ` = ${value} ` : ' '];
      if (why) {
        line.push(make('span', 'kernlab-bad', why), ' ');
      }
      const offset = text(row.offset);
      line.push(make('span', 'kernlab-soft', `· ${text(row.type)}${offset ? `, ${offset}` : ''}`));
      const inner = depth < DEEPEST ? captured[text(row.id)] : undefined;
      if (inner && typeof inner === 'object') {
        const opened = make('details', '', make('summary', '', ...line), ...this._rows(inner, captured, depth + 1));
        opened.open = true;
        made.push(opened);
      } else {
        made.push(make('div', 'kernlab-leaf', ...line));
      }
    }
    if (page.question) {
      made.push(make('div', 'kernlab-soft', 'what this holds is not known'));
    }
    if (page.problem) {
      made.push(make('div', 'kernlab-bad', text(page.problem)));
    }
    if (page.next !== null && page.next !== undefined) {
      made.push(make('div', 'kernlab-soft', page.total ? `… the first ${rows.length} of ${text(page.total)}` : '…'));
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
