"""What a wrong engine may be computing instead: the usual mistakes, tried one by one."""

from snubridge.verification.suspects.search import Suspect as Suspect
from snubridge.verification.suspects.search import suspects as suspects
from snubridge.verification.suspects.variants import VARIANTS as VARIANTS
from snubridge.verification.suspects.variants import Variant as Variant
