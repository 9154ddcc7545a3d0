"""Networks on Nengo: what snubridge exports, and plain numpy."""
