"""Compare sets of images in the features of a network: FID, KID, precision and recall."""
