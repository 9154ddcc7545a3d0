"""What was equal: comparisons, the report, and its pictures."""

from snubridge.verification.comparison import Comparison as Comparison
from snubridge.verification.comparison import First as First
from snubridge.verification.comparison import compare as compare
from snubridge.verification.report import Report as Report
from snubridge.verification.report import Row as Row
from snubridge.verification.verifier import verify as verify
