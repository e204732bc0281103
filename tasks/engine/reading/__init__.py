"""What `reads` is made of: finding jobs, explaining one, the fleet. Nothing here writes."""
