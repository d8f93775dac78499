"""The command line: one verb a file, each with `add_parser(subparsers)`; main finds and runs them."""
