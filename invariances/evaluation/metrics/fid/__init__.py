"""Sets of images compared in the features of a network: FID, KID, precision and recall."""
