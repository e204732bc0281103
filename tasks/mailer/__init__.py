"""Composing and delivering one email."""
