"""What all packages share: specs, manifests, bundles, policies, errors."""
