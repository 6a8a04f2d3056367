"""Composable PyTorch blocks for reference-based super-resolution (C2-Matching)."""
