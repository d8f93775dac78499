"""The command line: one verb a file, a function of the verb's name; verbs.py lists them, main runs them.

A verb's parameters are typer's (`Annotated[…, typer.Option(…)]`), its docstring is its page, `EXAMPLES` are lines that
the page and the tests take, and it returns an exit status. What it needs is imported within it: a shell that completes,
and `--help`, wait for nothing. A verb with verbs of its own has an `app` instead (`help_pages.group`).
"""
