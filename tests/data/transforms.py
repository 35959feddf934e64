"""The transforms of intensities as their settings name them."""

TRANSFORMS = ("noise", "blur", "brightness", "contrast", "low_resolution", "gamma_inverted", "gamma")
STRONG = ("offset", "gradient", "sharpening", "blank")  # off unless asked for
