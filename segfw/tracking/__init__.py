"""What is drawn and told about a run: training curves and the report page. Nothing here computes results."""
