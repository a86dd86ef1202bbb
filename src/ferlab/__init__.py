"""ferlab: facial expression recognition experiments that can be believed and repeated."""

__version__ = "0.1.0"
