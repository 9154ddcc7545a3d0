"""What benchmarks of exported networks share: layers, plain numpy beside them, tables and their report."""
