"""From preprocessed cases to batches: the store, patch sampling, augmentation."""
