"""What each finding is called for people who are no kernel engineers: a module a subject, a pattern a sentence."""
