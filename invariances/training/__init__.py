"""Training and evaluation of a LightningModule: the engine, its callbacks and loggers, and the folder of a run."""
