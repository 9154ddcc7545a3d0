"""Graphs of spiking neural units as Nengo networks, run by Nengo's reference simulator."""

from snubridge_nengo.adapter import NengoAdapter as NengoAdapter
