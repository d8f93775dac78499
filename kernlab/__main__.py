"""`python -m kernlab`: the same as the command `kernlab`."""

from kernlab.cli import main

raise SystemExit(main())
