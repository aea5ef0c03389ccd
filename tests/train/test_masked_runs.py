"""Runs that name no class, from start to fine-tuning."""
