"""What to take instead of what cannot be captured."""

from __future__ import annotations

from collections.abc import Mapping

import torch

_RECURRENT = "the nearest is nn.SNU with recurrent=True"
_UNIT = "decay=0, threshold=0, learn_threshold=False, reset=Reset.NONE"
_POOL = "the nearest that a graph can say is AvgPool2d: take nn.AvgPool2d, or nn.SumPool2d"
_ONE_D = "the nearest is nn.Conv2d with a kernel of height 1, on (T, B, C, 1, W)"
_NORM = "the nearest is nn.BatchNorm1d or nn.BatchNorm2d directly behind a Linear or Conv2d, which is folded into it"
_REDUCTION = "a reduction over time is nn.OverTime, as the last layer; over space, nn.AvgPool2d or nn.SumPool2d"
_SIZES = "choose strides and sizes of nn.Conv2d and nn.AvgPool2d that lead to the size you want"

NEAREST_LAYERS: Mapping[str, str] = {
    **dict.fromkeys(("MaxPool1d", "MaxPool2d", "MaxPool3d", "LPPool2d", "FractionalMaxPool2d"), _POOL),
    **dict.fromkeys(("AdaptiveMaxPool1d", "AdaptiveMaxPool2d"), f"{_POOL}, with its kernel and stride"),
    "AvgPool1d": "the nearest is nn.AvgPool2d with a kernel of height 1, on (T, B, C, 1, W)",
    "AdaptiveAvgPool1d": "the nearest is nn.AvgPool2d with its kernel and stride, on (T, B, C, 1, W)",
    "AdaptiveAvgPool2d": "the same is nn.AvgPool2d with its kernel and stride, where they divide",
    "ReLU": f"the same is nn.Unit(shape, {_UNIT}, g=ReLU(), h=Identity())",
    "LeakyReLU": f"the same is nn.Unit(shape, {_UNIT}, g=LeakyReLU(slope), h=Identity())",
    "Tanh": f"the same is nn.Unit(shape, {_UNIT}, h=Tanh())",
    "Sigmoid": f"the same is nn.Unit(shape, {_UNIT}, h=Sigmoid())",
    **dict.fromkeys(("ReLU6", "ELU", "GELU", "SiLU", "PReLU", "Hardtanh", "Softplus"), "take nn.Unit with a g or h"),
    **dict.fromkeys(("Softmax", "LogSoftmax"), "leave it to the loss: a graph ends before it, with the logits"),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"), _RECURRENT),
    **dict.fromkeys(("LayerNorm", "GroupNorm", "RMSNorm", "InstanceNorm1d", "InstanceNorm2d", "SyncBatchNorm"), _NORM),
    "BatchNorm3d": "the nearest is nn.BatchNorm2d, on (T, B, C, H, W)",
    "Conv1d": _ONE_D,
    "Conv3d": "the nearest is nn.Conv2d, on (T, B, C, H, W); time is a unit's or an nn.Delay's",
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "Upsample", "UpsamplingNearest2d", "PixelShuffle"), _SIZES),
    **dict.fromkeys(("ZeroPad2d", "ConstantPad2d"), "pad by nn.Conv2d(..., padding=...)"),
    "Unflatten": "the nearest is x.unflatten(0, (T, B)) with T and B from x.shape",
    "Embedding": "the nearest is torch.nn.Linear(..., bias=False) on one-hot values",
    "Bilinear": "a graph has no products of values; the nearest is torch.nn.Linear",
    "MultiheadAttention": "a graph has no products of values; the nearest is nn.SNU with recurrent=True",
    "Network": "capture it alone, not within another module",
    **dict.fromkeys(
        ("ParametrizedLinear", "ParametrizedConv2d"), "call torch.nn.utils.parametrize.remove_parametrizations first"
    ),
}
NEAREST_FUNCTIONS: Mapping[str, str] = {
    **dict.fromkeys(("max_pool2d", "max_pool1d", "adaptive_max_pool2d"), _POOL),
    **dict.fromkeys(("avg_pool2d", "adaptive_avg_pool2d"), "take the layer nn.AvgPool2d"),
    "conv2d": "take the layer nn.Conv2d",
    "linear": "take the layer torch.nn.Linear",
    "batch_norm": "take the layer nn.BatchNorm1d or nn.BatchNorm2d",
    **{name.lower(): NEAREST_LAYERS[name] for name in ("ReLU", "Tanh", "Sigmoid", "Softmax")},
    "leaky_relu": NEAREST_LAYERS["LeakyReLU"],
    "log_softmax": NEAREST_LAYERS["LogSoftmax"],
    **dict.fromkeys(("layer_norm", "group_norm"), _NORM),
    **dict.fromkeys(("mean", "sum", "amax", "max", "cumsum"), _REDUCTION),
    **dict.fromkeys(("mul", "truediv", "div", "imul", "multiply"), "scale the weights of the layer before or behind"),
    **dict.fromkeys(("sub", "neg", "isub", "subtract"), "add a Linear or Conv2d with the weights negated"),
    **dict.fromkeys(("matmul", "einsum", "bmm"), "the nearest is torch.nn.Linear"),
    **dict.fromkeys(("transpose", "permute", "movedim", "swapaxes"), "layers take batch_first=True instead"),
    **dict.fromkeys(("cat", "stack", "concat"), "the same is the sum of one Linear or Conv2d of each"),
    **dict.fromkeys(("roll", "pad"), "a shift in time is nn.Delay; zeros around an image are the layer's padding"),
    "getitem": "the last step is nn.OverTime('last'); parts of a value are those of a Linear with unit rows",
    **dict.fromkeys(("squeeze", "unsqueeze"), "a graph keeps a sample's axes; nn.Flatten makes them one"),
    "attribute": "use layers of snubridge.nn, Linear, and +",
}


def nearest(layer: torch.nn.Module, own: tuple[type[torch.nn.Module], ...]) -> str:
    """What helps with a layer that cannot be captured; ``own``: the classes that can."""
    kind = next((kind for kind in type(layer).__mro__[1:] if kind in own), None)
    if kind is not None and type(layer).__name__ not in NEAREST_LAYERS:
        return f"a subclass may compute anything; take {_public(kind)} itself"
    return NEAREST_LAYERS.get(type(layer).__name__, "take layers of snubridge.nn and Linear")


def _public(kind: type[torch.nn.Module]) -> str:
    return f"{'torch.nn' if kind.__module__.startswith('torch.') else 'nn'}.{kind.__name__}"
