"""The torch network itself as a backend."""

from snubridge_torch.adapter import TorchAdapter as TorchAdapter
