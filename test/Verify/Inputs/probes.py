"""Two rows of 24 tokens. usage: probes.py EVAL.npy OUT.npy"""

import sys

import numpy

numpy.save(sys.argv[2], numpy.load(sys.argv[1])[:2, :24])
