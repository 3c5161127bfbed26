"""What can be wrong with weights."""


class WeightsError(ValueError):
    """Weights cannot be used; the text is one sentence that says why and what to do."""
