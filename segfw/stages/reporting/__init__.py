"""Stage and verb `report`: what the page shows, gathered from disk."""
