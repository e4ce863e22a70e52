"""Features of motion for classifiers: histograms of flow, and Fisher vectors of descriptors."""

__all__: list[str] = []
