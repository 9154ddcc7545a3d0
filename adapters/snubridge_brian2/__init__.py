"""Graphs as Brian2 networks."""

from snubridge_brian2.adapter import Brian2Adapter as Brian2Adapter
