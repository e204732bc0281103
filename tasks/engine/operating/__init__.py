"""What `commands` is made of: an operator's acts, on one job or on a hundred thousand, and the check of all keys."""
