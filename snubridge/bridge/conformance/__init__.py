"""What an adapter's tests inherit. Needs pytest; nothing else in snubridge imports it."""

from snubridge.bridge.conformance.cases import Case as Case
from snubridge.bridge.conformance.families import random_case as random_case
from snubridge.bridge.conformance.space import random_graph as random_graph
from snubridge.bridge.conformance.suite import AdapterConformance as AdapterConformance
from snubridge.bridge.conformance.zoo import ZOO as ZOO
from snubridge.bridge.conformance.zoo import holding as holding
