"""A data set read once: what is odd about an image, which images are there twice, what would spoil a training."""
