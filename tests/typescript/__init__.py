"""The algebra in TypeScript: what holds in one language holds in the other."""
