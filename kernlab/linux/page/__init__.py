"""Page frames: where their structs lie, what each is used for, and by whom."""
