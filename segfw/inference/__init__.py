"""From a trained network and an image to a segmentation in the image's own geometry."""
