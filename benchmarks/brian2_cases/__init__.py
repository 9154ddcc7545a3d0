"""Networks on Brian2: what snubridge exports, what a person would have written, and plain numpy."""
