"""psdt: from flags on whole-body diffusion MRI to a reviewed structure set and a cited dose proposal.

Research software. Nothing that it writes is a medical device's result; every output is a proposal.
"""

__version__ = "0.1.0"
