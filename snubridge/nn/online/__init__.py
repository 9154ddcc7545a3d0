"""Learning in real time: gradients of one layer carried forward by eligibility traces, and a trainer that uses them."""

from snubridge.nn.online.traces import Traces as Traces
from snubridge.nn.online.traces import advance as advance
from snubridge.nn.online.traces import gradients as gradients
from snubridge.nn.online.traces import lead_back as lead_back
from snubridge.nn.online.traces import start as start
from snubridge.nn.online.trainer import Trainer as Trainer
