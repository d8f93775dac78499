"""`python -m kernlab`: the same as the command `kernlab`."""

from kernlab.commands.main import main

raise SystemExit(main())
