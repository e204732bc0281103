"""Counters by minute and what is told from them: sums, percentiles, forecasts."""
