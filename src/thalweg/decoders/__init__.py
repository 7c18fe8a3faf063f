"""Decoders turn a plan in latent space into actions."""
