"""Tables of the machine as a whole: what the dump is, its log, its modules, its symbols."""
