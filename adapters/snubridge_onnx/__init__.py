"""Graphs of spiking neural units as ONNX models, run by ONNX Runtime."""

from snubridge_onnx.adapter import OnnxAdapter as OnnxAdapter
from snubridge_onnx.adapter import OnnxProgram as OnnxProgram
