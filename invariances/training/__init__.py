"""A LightningModule trained: the engine, what happens around it, and the folder of a run."""
