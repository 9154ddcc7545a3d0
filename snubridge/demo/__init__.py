"""The demonstration on real music: the room above all others, which may use every one of them."""
