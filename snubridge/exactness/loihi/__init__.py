"""Graphs in the integers of Intel's Loihi, as the emulator of nengo-loihi computes with them."""

from snubridge.exactness.loihi.chip import Loihi as Loihi
from snubridge.exactness.loihi.layers import Group as Group
from snubridge.exactness.loihi.layers import Layer as Layer
from snubridge.exactness.loihi.layers import Synapses as Synapses
from snubridge.exactness.loihi.layers import read_layers as read_layers
from snubridge.exactness.loihi.layers import trainable_ranges as trainable_ranges
