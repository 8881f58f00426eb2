"""See and measure what a trained network keeps of its input and what it has learned to ignore."""
