"""The whole chain: files in, files out, and the node between real peers."""
