"""A worker process: it takes jobs under a lease, runs them, and commits what became of each."""
