"""What the benchmarks let a stock consumer run."""
