"""What `make run` adds around the product."""
