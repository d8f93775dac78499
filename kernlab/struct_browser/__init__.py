"""The object graph of a kernel in, nodes that can be shown and opened page by page out; knows nothing of notebooks."""
