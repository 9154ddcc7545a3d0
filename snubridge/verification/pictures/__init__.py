"""Pictures of what was equal: drawn once as a ``Figure``, written as SVG or PNG; and the demo's piano roll."""

from snubridge.verification.pictures.rolls import draw_rasters as draw_rasters
