"""What all packages share: specs, manifests, bundles, errors."""
