"""The report for people: one HTML file that needs nothing else."""

from snubridge.verification.html.page import page as page
