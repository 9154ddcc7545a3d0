from plain_numpy import PlainAdapter

import snubridge as sb
from snubridge.bridge.conformance import AdapterConformance, holding


class TestPlain(AdapterConformance):
    adapter = PlainAdapter()
    suffix = ".safetensors"
    refused = holding(sb.Conv2d, sb.AvgPool2d, sb.SumPool2d)  # exactly these cases of the zoo
    least = 90  # of the 200 graphs over the whole space; more than half of them hold images
