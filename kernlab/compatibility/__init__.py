"""Will kernlab read this kernel? Its types and symbols in, what each table can do with them out, before any crash."""
