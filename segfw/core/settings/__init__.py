"""Every key a user can set, declared once, and what keys demand of one another."""
