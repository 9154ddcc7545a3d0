"""``fuzz``: graphs from a seed on every backend; what differs without leave of the error model is made small."""

from snubridge.verification.fuzz.campaign import Plan as Plan
from snubridge.verification.fuzz.campaign import Session as Session
from snubridge.verification.fuzz.campaign import conduct as conduct
from snubridge.verification.fuzz.campaign import replay as replay
from snubridge.verification.fuzz.families import FAMILIES as FAMILIES
from snubridge.verification.fuzz.families import draw as draw
from snubridge.verification.fuzz.outcome import Outcome as Outcome
from snubridge.verification.fuzz.targets import Target as Target
from snubridge.verification.fuzz.targets import parse_targets as parse_targets
