"""How jobs come in: registered tasks, one call or many, batches, changed arguments."""
