"""The cases of ``benchmarks/training.py``, one file each, what they compare with, and how it is timed and shown."""
