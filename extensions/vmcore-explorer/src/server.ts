// The server's one route: the summary of a dump, made without a kernel.

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

export interface ISummary {
  title?: string;
  why?: string;
  rows?: [string, string][];
  problems?: string[];
  error?: string;
}

/** The summary of the dump at a path below the server's root. Rejects when the server has no such route or file. */
export async function summaryOf(path: string, settings: ServerConnection.ISettings): Promise<ISummary> {
  const url = URLExt.join(settings.baseUrl, 'kernlab', 'summary') + URLExt.objectToQueryString({ path });
  const response = await ServerConnection.makeRequest(url, {}, settings);
  if (!response.ok) {
    throw new ServerConnection.ResponseError(response);
  }
  return (await response.json()) as ISummary;
}
