"""The cases on a GPU: sequences of 100 steps of 2^20 neurons, all samples counted, in float32 and in 16 bits."""

from training.cuda import dynamics as dynamics
from training.cuda import layer as layer
from training.cuda import recurrent as recurrent
