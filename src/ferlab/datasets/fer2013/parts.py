"""Names of FER-2013's parts, as in the column ``Usage``."""

TRAINING, PUBLIC_TEST, PRIVATE_TEST = "Training", "PublicTest", "PrivateTest"
USAGES = (TRAINING, PUBLIC_TEST, PRIVATE_TEST)
MIXED = "test"
"""PublicTest and PrivateTest together, in copies that lost the difference."""
SIDE_PX = 48
