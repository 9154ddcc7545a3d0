"""From a torch module to a graph: ``capture``.

trace         what ``forward`` does, as torch.fx shows it; ``capture`` itself
translation   walks through it, operation by operation
layers        what each layer becomes, a table by class      normalization   batch norms, folded
functions     what each function becomes, a table            outputs         what ``forward`` returns
values        what a value is meanwhile                      draft           the graph in the making
refusals      what to take instead of what is refused        trial           the graph beside its module
"""

from snubridge.nn.tracing.trace import capture as capture
