"""Parts of benches/peers."""
