"""What is proven and measured before a bundle is published."""
