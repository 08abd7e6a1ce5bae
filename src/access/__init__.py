"""What decides: links, PINs, state files. No HTTP, no kernel."""
