"""From a fingerprint to a plan: the method's rules, their checks, reasons and costs."""
