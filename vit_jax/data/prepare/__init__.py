"""From any source of images to shards that every reader of TensorFlow Datasets opens, with a manifest of hashes."""
